/* pico_park.h - Pico Park: little cats that must leave a scrolling level together.
 *
 * The rules are told in docs/02-pico-park.md. All state is integers; one (config, level, actions)
 * gives one history on every compiler and machine. Rows count from the top, columns from the left.
 */
#ifndef CLOWDER_PICO_PARK_H
#define CLOWDER_PICO_PARK_H

#include <stdint.h>

#include "batch.h"

enum {
    PICO_MIN_AGENTS = 2,
    PICO_MAX_AGENTS = 8,
    PICO_MAX_HEIGHT = 64,   /* tiles; a column of tiles fits one 64-bit word */
    PICO_MAX_LENGTH = 1024, /* tiles */
    PICO_MAX_DIFFICULTIES = 16,
    PICO_VIEW_CHANNELS = 5,
    PICO_VIEW_ROWS = 14,    /* 7 above the agent, 6 below */
    PICO_VIEW_COLUMNS = 25, /* 12 on either side */
    PICO_NUM_GLOBALS = 11
};

typedef enum pico_action {
    PICO_UP = 0,
    PICO_DOWN = 1,
    PICO_LEFT = 2,
    PICO_RIGHT = 3,
    PICO_SHOOT = 4,
    PICO_IDLE = 5,
    PICO_NUM_ACTIONS = 6
} pico_action;

/* What a reward can be paid for: counts per agent and tick, progress in tiles. */
typedef enum pico_term {
    PICO_TERM_VICTORY = 0,
    PICO_TERM_DEFEAT,
    PICO_TERM_STRANDED,
    PICO_TERM_CRUSHED,
    PICO_TERM_SHOT,
    PICO_TERM_FRIENDLY_KILL,
    PICO_TERM_KEY,
    PICO_TERM_UNLOCK,
    PICO_TERM_EXIT,
    PICO_TERM_PROGRESS_KEY,
    PICO_TERM_PROGRESS_UNLOCK,
    PICO_TERM_PROGRESS_FOLLOW,
    PICO_TERM_PROGRESS_EXIT,
    PICO_TERM_OWN_BLOCK,
    PICO_TERM_FOREIGN_BLOCK,
    PICO_TERM_WASTED_SHOT,
    PICO_TERM_ALIVE,
    PICO_NUM_TERMS
} pico_term;

/* Statistics of an episode record, sums over the agents unless said otherwise. */
typedef enum pico_stat {
    PICO_STAT_EXITS = 0,
    PICO_STAT_CRUSHED,
    PICO_STAT_SHOT,
    PICO_STAT_KEY_TICK,    /* tick in which the key was first taken; -1: never */
    PICO_STAT_UNLOCK_TICK, /* tick in which the door was opened; -1: never */
    PICO_STAT_SHOTS,       /* bullets fired */
    PICO_STAT_OWN_BLOCKS,
    PICO_STAT_FOREIGN_BLOCKS,
    PICO_STAT_WASTED_SHOTS,
    PICO_STAT_FRIENDLY_KILLS,
    PICO_STAT_IDLE_TICKS,   /* agent-ticks in play in which idle was chosen */
    PICO_STAT_ACTIVE_TICKS, /* agent-ticks in play */
    PICO_NUM_STATS
} pico_stat;

typedef enum pico_outcome { PICO_VICTORY = 0, PICO_DEFEAT = 1 } pico_outcome;

typedef enum pico_cause {
    PICO_CAUSE_VICTORY = 0,
    PICO_CAUSE_CRUSHED,
    PICO_CAUSE_SHOT,
    PICO_CAUSE_KEY_LOST,
    PICO_CAUSE_DOOR_LOST,
    PICO_CAUSE_TIME
} pico_cause;

enum { PICO_LAYOUT_LADDER = 0, PICO_LAYOUT_CLASSIC = 1 };
enum { PICO_ON_DEATH_DEFEAT = 0, PICO_ON_DEATH_CONTINUE = 1 };

/* One difficulty: how levels are drawn and how fast they move. Ranges include both ends. */
typedef struct pico_difficulty {
    int32_t layout;            /* PICO_LAYOUT_...; classic draws its own lengths and obstacles */
    int32_t length;            /* columns; ignored by classic */
    int32_t scroll_period;     /* ticks a column of scrolling */
    int32_t bullet_speed;      /* tiles a tick */
    int32_t bullets_per_agent; /* in the air at once; 0: no limit */
    int32_t spacing_min;       /* free columns between obstacles */
    int32_t spacing_max;
    int32_t gap_min; /* rows of a gap */
    int32_t gap_max;
    int32_t depth_min; /* columns of a tunnel */
    int32_t depth_max;
    int32_t share_open; /* relative frequencies of the obstacles */
    int32_t share_gate;
    int32_t share_curtain;
    int32_t share_tunnel;
    int32_t all_colours; /* 1: every colour is needed (at least four of more than four) */
} pico_difficulty;

/* A whole config, all int32 without padding. */
typedef struct pico_config {
    int32_t num_agents;    /* PICO_MIN_AGENTS..PICO_MAX_AGENTS */
    int32_t height;        /* rows of generated levels */
    int32_t screen_width;  /* columns */
    int32_t shot_cooldown; /* ticks from one shot to the next; 0 and 1: every tick */
    int32_t time_limit;    /* ticks; 0: max(0, length - 25) * scroll_period + 100 */
    int32_t on_death;      /* PICO_ON_DEATH_... */
    int32_t num_difficulties;
    int32_t difficulty; /* index of the default; maps by hand take their speeds from it */
    pico_difficulty difficulties[16]; /* (PICO_MAX_DIFFICULTIES,), unused ones zero */
} pico_config;

/* The named difficulties: 0 meadow, 1 gates, 2 curtains, 3 tunnels, 4 gauntlet, 5 classic,
 * 6 lanes. */
int32_t pico_num_presets(void);
const char *pico_preset_name(int32_t preset); /* NULL past the last */
pico_difficulty pico_preset(int32_t preset);  /* meadow past the last */

/* Four agents on `tunnels`, every preset among the difficulties. */
pico_config pico_default_config(void);

/* BATCH_OK, or BATCH_BAD_CONFIG with a sentence in message (BATCH_MESSAGE_BYTES). Of the
 * difficulties only the default one is checked; others when a level asks for them. */
int32_t pico_check_config(const pico_config *config, char *message);

/* Makes num_envs games, or returns NULL with a sentence in message (BATCH_MESSAGE_BYTES). */
batch *pico_create(const pico_config *config, int32_t num_envs, char *message);

/* Names of the terms, whether or not there is a batch; NULL past the last. */
const char *pico_term_name(int32_t term);

/* What a search finds in the level a game stands at; blocks go only when shot from the left. */
typedef struct pico_search {
    int32_t key_reached;    /* 1: a path leads to the key, or the door is open already */
    int32_t door_reached;   /* 1: a path leads to the door */
    int32_t colours_needed; /* bit c: the door is out of reach unless blocks of colour c go */
} pico_search;

int32_t pico_search_level(const batch *b, int32_t game, pico_search *found);

/* What stands where, for drawing. */
typedef struct pico_frame {
    int32_t height, length; /* of the level, tiles */
    int32_t tick;           /* ticks played */
    int32_t left;           /* the screen's left column */
    int32_t key_status;     /* 0 on the ground, 1 held, 2 used */
    int32_t key_row, key_column;
    int32_t key_holder; /* agent; valid if held */
    int32_t door_row, door_column;
    int32_t door_open;
    int32_t num_bullets;
    int32_t agent_status[8]; /* (PICO_MAX_AGENTS,): 0 in play, 1 out by the door, 2 dead */
    int32_t agent_row[8];    /* where it is, left or died */
    int32_t agent_column[8];
    int32_t agent_cooldown[8]; /* ticks until it may shoot */
} pico_frame;

/* Shows a game: with ended != 0 the last state of one that ended in the last step and was kept
 * (batch_keep_ended). tiles: (PICO_MAX_HEIGHT * PICO_MAX_LENGTH,) at most, height rows of length:
 * 0 free, 1..8 a block of colour 0..7, 9 wall. bullets: (capacity, 3) row, column, owner, oldest
 * first; num_bullets may be more than fit. BATCH_BAD_ARGUMENT: there is no such state. */
int32_t pico_show(const batch *b, int32_t game, int32_t ended, pico_frame *frame, uint8_t *tiles,
                  int32_t *bullets, int32_t capacity);

/* 1: observations are written with the widest instructions this processor has (the default);
 * 0: by the portable path. Both write the same bytes. For tests and benchmarks. */
void pico_use_wide(batch *b, int32_t wide);

#endif
