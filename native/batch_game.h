/* batch_game.h - what a game tells the batch about itself. Included by games, not by their users.
 *
 * A game is a table of functions over one block of plain memory, its state: no pointers inside, so
 * that the batch can move, save and restore it by copying bytes. State memory is zeroed before a
 * level starts, and a game keeps its padding zero.
 */
#ifndef CLOWDER_BATCH_GAME_H
#define CLOWDER_BATCH_GAME_H

#include <stddef.h>

#include "batch.h"

/* What `tick` returns. */
enum { BATCH_RUNNING = 0, BATCH_TERMINATED = 1, BATCH_TRUNCATED = 2 };

/* One level, all said: what `start` gets. */
typedef struct batch_start {
    uint64_t seed;      /* level seed; 0 with a map */
    int32_t difficulty; /* index of a difficulty; -1 with a map */
    const char *map;    /* checked map text, not closed by '\0'; NULL: generate from the seed */
    int32_t map_bytes;  /* bytes of the text */
} batch_start;

typedef struct batch_game {
    const char *name;           /* static */
    int32_t version;            /* raise it whenever a history changes */
    int32_t num_agents;         /* 1..BATCH_MAX_AGENTS */
    int32_t num_actions;        /* actions are 0..num_actions-1 */
    int32_t num_difficulties;   /* at least 1 */
    int32_t default_difficulty; /* 0..num_difficulties-1 */
    int32_t num_terms;          /* 1..BATCH_MAX_TERMS */
    int32_t num_stats;          /* 0..BATCH_MAX_STATS */

    const char *const *term_names;                     /* (num_terms,) */
    const char *const *stat_names;                     /* (num_stats,) */
    const char *const *outcome_names;                  /* closed by NULL */
    const char *const *cause_names;                    /* closed by NULL */
    int64_t observation_bytes[BATCH_MAX_OBSERVATIONS]; /* an agent and part; 0: no such part */

    /* Bytes of a state that can hold any generated level (map NULL) or this checked map. */
    size_t (*state_bytes)(const void *rules, const char *map, int32_t map_bytes);
    /* Whether a level may ask for this difficulty: BATCH_OK, or BATCH_BAD_CONFIG with a sentence in
     * message. NULL: any may. */
    int32_t (*check_level)(const void *rules, int32_t difficulty, char *message);
    /* BATCH_OK, or BATCH_BAD_MAP with a sentence in message. */
    int32_t (*check_map)(const void *rules, const char *map, int32_t map_bytes, char *message);
    /* Makes the level in zeroed memory. BATCH_OK or BATCH_LEVEL_IMPOSSIBLE. */
    int32_t (*start)(const void *rules, const batch_start *start, void *state);
    /* One tick with checked actions; adds whole numbers to terms (A, K), which come zeroed. */
    int32_t (*tick)(const void *rules, void *state, const int32_t *actions, float *terms);
    /* Writes all agents' observations, one pointer a part, and who is in play. */
    void (*observe)(const void *rules, const void *state, uint8_t *const *parts, uint8_t *alive);
    /* After the last tick: outcome, cause and the statistics (num_stats,). */
    void (*finish)(const void *rules, const void *state, int32_t *outcome, int32_t *cause,
                   int64_t *stats);
    /* Bytes of this state that matter: what a snapshot keeps. */
    size_t (*used_bytes)(const void *rules, const void *state);
    /* 1 if these bytes are a state that the other functions can be trusted with, whatever wrote
     * them; num_bytes were given. */
    int32_t (*check_state)(const void *rules, const void *state, size_t num_bytes);
    uint64_t (*state_hash)(const void *rules, const void *state);
    /* As batch_text. */
    int64_t (*text)(const void *rules, const void *state, char *text, int64_t num_bytes);
} batch_game;

/* Makes a batch of num_envs games; rules (rules_bytes plain bytes, no padding left unset) are
 * copied and handed to every function of the game. Returns NULL when memory is short. */
batch *batch_create(const batch_game *game, const void *rules, size_t rules_bytes,
                    int32_t num_envs);

/* A field of a config that must lie in a range. */
typedef struct batch_bound {
    const char *name;
    double value, low, high;
} batch_bound;

/* BATCH_OK, or BATCH_BAD_CONFIG with a sentence on the first that doesn't in message. */
int32_t batch_check_bounds(const batch_bound *bounds, size_t num_bounds, char *message);

/* For what a game offers beside the batch's own calls. */
batch_game *batch_game_of(batch *b);
const void *batch_rules_of(const batch *b);
const void *batch_state_of(const batch *b, int32_t game); /* NULL: no such game, or not reset yet */
/* Puts a checked state in place of game's, within its length, and writes its observations. */
int32_t batch_put_state(batch *b, int32_t game, const void *state, size_t num_bytes);
/* The last state of a game that ended in the last step; NULL: it didn't, or it isn't kept. */
const void *batch_ended_state_of(const batch *b, int32_t game);

#endif
