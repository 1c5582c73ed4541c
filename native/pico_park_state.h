/* pico_park_state.h - a game of Pico Park in memory; shared by the rules and the level maker. */
#ifndef CLOWDER_PICO_PARK_STATE_H
#define CLOWDER_PICO_PARK_STATE_H

#include <stddef.h>

#include "batch_game.h"
#include "pico_park.h"

/* Tiles. Blocks of colour c are c + 1; PICO_OUT is set once the screen's edge has passed a tile. */
enum { PICO_FREE = 0, PICO_WALL = 9, PICO_OUT = 0x80 };

/* The plane is padded with wall so that every agent's view lies inside it, whole 32-byte loads
 * included. */
enum {
    PICO_PAD_TOP = 7,
    PICO_PAD_BOTTOM = 6,
    PICO_PAD_LEFT = 12,
    PICO_PAD_RIGHT = 19 /* 12 columns of view, 7 bytes of load */
};

enum { PICO_PLAYING = 0, PICO_LEFT_BY_DOOR = 1, PICO_DEAD = 2 };
enum { PICO_KEY_GROUND = 0, PICO_KEY_HELD = 1, PICO_KEY_GONE = 2 };

typedef struct pico_agent {
    int32_t row, column; /* where it is, left or died */
    int32_t cooldown;    /* ticks until it may shoot */
    int32_t status;      /* PICO_PLAYING, ... */
} pico_agent;

typedef struct pico_bullet {
    int16_t row, column;
    int32_t owner; /* agent */
} pico_bullet;

/* Behind the struct: bullets (bullet_capacity,), oldest first, then the plane (rows, stride). */
typedef struct pico_state {
    int32_t num_bytes;      /* of the whole state */
    int32_t height, length; /* tiles */
    int32_t stride;         /* bytes of a plane row */
    int32_t scroll_period, bullet_speed, bullets_per_agent, time_limit;
    int32_t tick, left;
    int32_t key_status, key_row, key_column, key_holder;
    int32_t door_row, door_column, door_open;
    int32_t num_playing, num_out, num_dead;
    int32_t first_death, last_death; /* pico_cause of the first and last death, 0: none */
    int32_t outcome, cause;          /* valid once the game has ended */
    int32_t num_bullets, bullet_capacity;
    int32_t stats[PICO_NUM_STATS];
    pico_agent agents[PICO_MAX_AGENTS];
} pico_state;

static inline pico_bullet *pico_bullets(const pico_state *s) {
    return (pico_bullet *)(uintptr_t)(s + 1);
}

static inline uint8_t *pico_plane(const pico_state *s) {
    return (uint8_t *)(pico_bullets(s) + s->bullet_capacity);
}

/* The tile of a cell; cells up to the padding around the level read as wall. */
static inline uint8_t *pico_tile(const pico_state *s, int32_t row, int32_t column) {
    return pico_plane(s) + (row + PICO_PAD_TOP) * s->stride + column + PICO_PAD_LEFT;
}

/* The difficulty that rules a level; maps (-1) follow the default one. */
static inline const pico_difficulty *pico_rules_of(const pico_config *config, int32_t difficulty) {
    return &config->difficulties[difficulty < 0 ? config->difficulty : difficulty];
}

/* Fills in what a level of height x length has from the start on; s is zeroed. */
void pico_shape_fields(const pico_config *config, const pico_difficulty *rules, int32_t height,
                       int32_t length, pico_state *s);

/* Bytes of such a state, bullets and plane included. */
size_t pico_shaped_bytes(const pico_config *config, const pico_difficulty *rules, int32_t height,
                         int32_t length);

/* The longest level that a difficulty draws, columns. */
int32_t pico_longest(const pico_difficulty *rules);

/* Draws a level into zeroed memory. BATCH_OK or BATCH_LEVEL_IMPOSSIBLE. */
int32_t pico_make_level(const pico_config *config, uint64_t seed, int32_t difficulty,
                        pico_state *s);

/* Maps by hand. */
int32_t pico_check_map(const pico_config *config, const char *map, int32_t num_bytes,
                       char *message);
void pico_map_size(const char *map, int32_t num_bytes, int32_t *height, int32_t *length);
void pico_read_map(const pico_config *config, const char *map, int32_t num_bytes, pico_state *s);

/* Searches from the agents in play. */
pico_search pico_search_state(const pico_config *config, const pico_state *s);

#endif
