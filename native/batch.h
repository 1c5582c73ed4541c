/* batch.h - many games of one kind, stepped by one call: the part that every game shares.
 *
 * Guarantees:
 * - The caller owns every buffer that a step reads or writes (batch_attach); a step allocates
 *   nothing, does no I/O and touches nothing global, so batches may be stepped from as many threads
 *   as there are batches.
 * - Games share nothing: how they are spread over batches and threads never changes a history.
 * - A call that fails says why in batch_message() and leaves every game as it was, but for
 *   BATCH_LEVEL_IMPOSSIBLE out of batch_step, after which the batch must be reset.
 * - When a game ends, the same call starts its next level.
 *
 * Python's CFFI declarations are made from this file: lines that begin with '#' are left out.
 */
#ifndef CLOWDER_BATCH_H
#define CLOWDER_BATCH_H

#include <stdint.h>

enum {
    BATCH_MAX_AGENTS = 8,
    BATCH_MAX_TERMS = 32,
    BATCH_MAX_STATS = 16,
    BATCH_MAX_OBSERVATIONS = 2, /* parts of one agent's observation */
    BATCH_MESSAGE_BYTES = 256
};

/* What a call returns; batch_status_text() has a phrase for each. */
enum {
    BATCH_OK = 0,
    BATCH_BAD_ARGUMENT = -1,
    BATCH_BAD_CONFIG = -2,
    BATCH_BAD_ACTION = -3,
    BATCH_BAD_MAP = -4,
    BATCH_BAD_SNAPSHOT = -5,
    BATCH_NO_MEMORY = -6,
    BATCH_NOT_READY = -7, /* no buffers attached, or not reset yet */
    BATCH_RECORDS_FULL = -8,
    BATCH_LEVEL_IMPOSSIBLE = -9 /* no level of this difficulty passes the search */
};

/* Columns of an episode record, int64 each. Behind BATCH_RECORD_HEAD come the game's statistics,
 * then every term's total per agent, (num_agents, num_terms). */
enum {
    BATCH_RECORD_GAME = 0,       /* index of the game in its batch */
    BATCH_RECORD_LEVEL_SEED = 1, /* bits of the uint64 level seed, bit 63 marks held-out; map: 0 */
    BATCH_RECORD_DIFFICULTY = 2, /* index of the difficulty, -1 for a map */
    BATCH_RECORD_LENGTH = 3,     /* ticks */
    BATCH_RECORD_OUTCOME = 4,    /* index into the game's outcome names */
    BATCH_RECORD_CAUSE = 5,      /* index into the game's cause names */
    BATCH_RECORD_HEAD = 6
};

/* Which level a game plays. */
typedef struct batch_level {
    uint64_t seed;      /* level seed, bit 63 set for held-out levels; unused if fresh or a map */
    int32_t difficulty; /* index of a difficulty; -1 the config's own */
    int32_t map;        /* number given by batch_add_map; -1 none: a generated level */
    int32_t fresh;      /* 1: draw the seed from the game's own stream when the level starts */
    int32_t held_out;   /* 1: with fresh, a held-out seed */
} batch_level;

/* Memory that the caller owns, C-contiguous, alive as long as the batch is used. N games, A agents,
 * K terms. */
typedef struct batch_buffers {
    uint8_t *observations[2];       /* one array a part: (N, A, bytes of the part) */
    uint8_t *final_observations[2]; /* the same, written when a game ends: its last observations */
    float *terms;                   /* (N, A, K) events of the tick that ended */
    float *rewards;                 /* (N, A) weighted and shared, of the tick that ended */
    uint8_t *terminated;            /* (N,) 1: the game ended in this tick */
    uint8_t *truncated;             /* (N,) 1: the game was cut off in this tick */
    uint8_t *alive;                 /* (N, A) 1: in play now */
    int64_t *records;               /* (record_capacity, batch_record_columns()) */
    int32_t record_capacity;        /* rows; at least N */
} batch_buffers;

typedef struct batch batch;

/* Frees a batch; NULL is allowed. */
void batch_destroy(batch *b);

/* Why the last call on this batch failed: one sentence, "" if none has. */
const char *batch_message(const batch *b);

/* A phrase for a status code. */
const char *batch_status_text(int32_t status);

/* Hash of the sources that this library was built from, 16 hexadecimal digits. */
const char *batch_source_hash(void);

/* What the game is: its name, sizes and names, all static. */
const char *batch_game_name(const batch *b);
int32_t batch_game_version(const batch *b); /* histories may differ between versions */
int32_t batch_num_envs(const batch *b);
int32_t batch_num_agents(const batch *b);
int32_t batch_num_actions(const batch *b);
int32_t batch_num_terms(const batch *b);
int32_t batch_num_stats(const batch *b);
int32_t batch_record_columns(const batch *b);                  /* int64 columns of a record */
int64_t batch_observation_bytes(const batch *b, int32_t part); /* bytes an agent; 0: no such part */
const char *batch_term_name(const batch *b, int32_t term);     /* NULL past the last */
const char *batch_stat_name(const batch *b, int32_t stat);     /* NULL past the last */
const char *batch_outcome_name(const batch *b, int32_t outcome); /* NULL past the last */
const char *batch_cause_name(const batch *b, int32_t cause);     /* NULL past the last */

/* Names the buffers. Must come before anything that writes to them. */
int32_t batch_attach(batch *b, const batch_buffers *buffers);

/* The key of a stream of level seeds: a hash of (seed, index). */
uint64_t batch_stream_key(uint64_t seed, uint64_t index);

/* Starts every game's stream of level seeds anew; keys: (N,). */
int32_t batch_seed(batch *b, const uint64_t *keys);

/* A reward is (1 - team_share) * own + team_share * mean(own), own = terms @ weights summed in the
 * order of the terms in float32. weights: (K,). Takes effect with the next step. */
int32_t batch_set_weights(batch *b, const float *weights, float team_share);

/* Checks a map and keeps it for batch_level.map. Returns its number (equal maps share one), or a
 * negative status. May move games in memory, never changes them. */
int32_t batch_add_map(batch *b, const char *text, int32_t num_bytes);

/* Starts a level in every game and forgets queued levels. levels: (N,) levels that the games then
 * repeat for good, or NULL: fresh ones from each game's stream. */
int32_t batch_reset(batch *b, const batch_level *levels);

/* Appends what game plays after its current level, before it repeats or draws fresh ones again. */
int32_t batch_queue(batch *b, int32_t game, const batch_level *levels, int32_t num_levels);

/* The level that game plays now; a drawn seed is filled in. */
int32_t batch_current_level(const batch *b, int32_t game, batch_level *level);

/* One tick of every game. actions: (N, A) int32. Refuses before anything moves: an action that is
 * not one, and BATCH_RECORDS_FULL when fewer than N rows are free for records. */
int32_t batch_step(batch *b, const int32_t *actions);

/* From now on, keeps the last state of every game that ends until the next step, for who wants to
 * see the end and not the next level's start. */
int32_t batch_keep_ended(batch *b);

/* How many records were written since the last batch_clear_records. */
int32_t batch_num_records(const batch *b);
void batch_clear_records(batch *b);

/* A game as bytes: level, clock, everything in flight, the running episode record, the stream and
 * queue of later levels; not the weights, nor the game's index. */
int64_t batch_snapshot_bytes(const batch *b, int32_t game);
int32_t batch_snapshot(const batch *b, int32_t game, uint8_t *data, int64_t num_bytes);

/* Puts a snapshot in place of game and writes its observations. Refuses truncated, altered and
 * foreign bytes, other versions and other configs, and then changes nothing. */
int32_t batch_restore(batch *b, int32_t game, const uint8_t *data, int64_t num_bytes);

/* 64-bit hash of all that decides the rest of the level; equal states hash equal everywhere. */
uint64_t batch_state_hash(const batch *b, int32_t game);

/* The game as text, rows ended by '\n', closed by '\0'; with ended != 0 the last state of one that
 * ended in the last step and was kept. Returns the bytes needed, '\0' included; writes only if
 * they fit. */
int64_t batch_text(const batch *b, int32_t game, int32_t ended, char *text, int64_t num_bytes);

#endif
