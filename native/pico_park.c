/* pico_park.c - the rules of Pico Park: one tick, what each cat sees, and the game as bytes. */
#include "pico_park.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pico_park_state.h"
#include "random.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))
#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_AVX2_PATH 1
#endif

enum { SIMULATOR_VERSION = 1 };

/* clang-format off */
static const char *const term_names[] = {
    "victory",      "defeat",          "stranded",        "crushed",       "shot",
    "friendly_kill", "key",            "unlock",          "exit",          "progress_key",
    "progress_unlock", "progress_follow", "progress_exit", "own_block",    "foreign_block",
    "wasted_shot",  "alive",           NULL};

static const char *const stat_names[] = {
    "exits",      "crushed",        "shot",         "key_tick",       "unlock_tick", "shots",
    "own_blocks", "foreign_blocks", "wasted_shots", "friendly_kills", "idle_ticks",  "active_ticks",
    NULL};

static const char *const outcome_names[] = {"victory", "defeat", NULL};
static const char *const cause_names[] = {"victory",  "crushed",   "shot", "key_lost",
                                          "door_lost", "time", NULL};
/* clang-format on */

const char *pico_term_name(int32_t term) {
    return term >= 0 && term < PICO_NUM_TERMS ? term_names[term] : NULL;
}

/* ---- one tick ---- */

/* A tick on its way. */
typedef struct tick_context {
    const pico_config *config;
    pico_state *s;
    float *terms; /* (A, PICO_NUM_TERMS) */
} tick_context;

static void count(tick_context *t, int32_t agent, pico_term term, int32_t amount) {
    t->terms[agent * PICO_NUM_TERMS + (int32_t)term] += (float)amount;
}

static int32_t is_cell(const pico_state *s, int32_t row, int32_t column) {
    return row >= 0 && row < s->height && column >= 0 && column < s->length;
}

static int32_t screen_end(const tick_context *t) {
    int32_t end = t->s->left + t->config->screen_width;
    return end < t->s->length ? end : t->s->length;
}

static int32_t agent_at(const tick_context *t, int32_t row, int32_t column) {
    for (int32_t i = 0; i < t->config->num_agents; i++) {
        const pico_agent *a = &t->s->agents[i];
        if (a->column == column && a->row == row && a->status == PICO_PLAYING) return i;
    }
    return -1;
}

static void die(tick_context *t, int32_t victim, pico_cause cause) {
    pico_state *s = t->s;
    pico_agent *a = &s->agents[victim];
    a->status = PICO_DEAD;
    s->num_playing--;
    s->num_dead++;
    if (!s->first_death) s->first_death = (int32_t)cause;
    s->last_death = (int32_t)cause;
    if (s->key_status == PICO_KEY_HELD && s->key_holder == victim) {
        s->key_status = PICO_KEY_GROUND;
        s->key_row = a->row;
        s->key_column = a->column;
        s->key_holder = -1;
    }
}

static void hit(tick_context *t, int32_t victim, int32_t shooter) {
    count(t, victim, PICO_TERM_SHOT, 1);
    t->s->stats[PICO_STAT_SHOT]++;
    if (victim != shooter) {
        count(t, shooter, PICO_TERM_FRIENDLY_KILL, 1);
        t->s->stats[PICO_STAT_FRIENDLY_KILLS]++;
    }
    die(t, victim, PICO_CAUSE_SHOT);
}

/* What a bullet of `shooter` meets in a tile. 1: the bullet is gone. */
static int32_t resolve_bullet(tick_context *t, int32_t shooter, int32_t row, int32_t column) {
    pico_state *s = t->s;
    assert(row >= 0 && row < s->height && column > s->left);
    if (column >= screen_end(t)) {
        count(t, shooter, PICO_TERM_WASTED_SHOT, 1);
        s->stats[PICO_STAT_WASTED_SHOTS]++;
        return 1;
    }
    uint8_t *tile = pico_tile(s, row, column);
    if (*tile == PICO_FREE) {
        int32_t victim = agent_at(t, row, column);
        if (victim >= 0) hit(t, victim, shooter);
        return victim >= 0;
    }
    if (*tile == shooter + 1) {
        *tile = PICO_FREE;
        count(t, shooter, PICO_TERM_OWN_BLOCK, 1);
        s->stats[PICO_STAT_OWN_BLOCKS]++;
    } else if (*tile < PICO_WALL) {
        count(t, shooter, PICO_TERM_FOREIGN_BLOCK, 1);
        s->stats[PICO_STAT_FOREIGN_BLOCKS]++;
    } else {
        count(t, shooter, PICO_TERM_WASTED_SHOT, 1);
        s->stats[PICO_STAT_WASTED_SHOTS]++;
    }
    return 1;
}

static void remove_bullet(pico_state *s, int32_t index) {
    pico_bullet *bullets = pico_bullets(s);
    assert(index >= 0 && index < s->num_bullets);
    s->num_bullets--;
    memmove(bullets + index, bullets + index + 1,
            (size_t)(s->num_bullets - index) * sizeof *bullets);
    memset(bullets + s->num_bullets, 0, sizeof *bullets);
}

static void shoot(tick_context *t, int32_t shooter) {
    pico_state *s = t->s;
    pico_agent *a = &s->agents[shooter];
    if (a->cooldown > 0) return;
    if (s->bullets_per_agent > 0) {
        int32_t in_the_air = 0;
        for (int32_t i = 0; i < s->num_bullets; i++)
            in_the_air += pico_bullets(s)[i].owner == shooter;
        if (in_the_air >= s->bullets_per_agent) return;
    }
    if (s->num_bullets == s->bullet_capacity) return; /* only after a forged snapshot */
    a->cooldown = t->config->shot_cooldown;
    s->stats[PICO_STAT_SHOTS]++;
    /* Checked where it appears, before anyone else acts: nothing can be shot through. */
    if (resolve_bullet(t, shooter, a->row, a->column + 1)) return;
    pico_bullets(s)[s->num_bullets++] =
        (pico_bullet){(int16_t)a->row, (int16_t)(a->column + 1), shooter};
}

static void leave(tick_context *t, int32_t agent) {
    pico_state *s = t->s;
    pico_agent *a = &s->agents[agent];
    if (!s->door_open) {
        s->door_open = 1;
        s->key_status = PICO_KEY_GONE;
        s->key_holder = -1;
        count(t, agent, PICO_TERM_UNLOCK, 1);
        s->stats[PICO_STAT_UNLOCK_TICK] = s->tick;
    }
    a->row = s->door_row;
    a->column = s->door_column;
    a->status = PICO_LEFT_BY_DOOR;
    s->num_playing--;
    s->num_out++;
    count(t, agent, PICO_TERM_EXIT, 1);
    s->stats[PICO_STAT_EXITS]++;
}

static void move(tick_context *t, int32_t agent, int32_t action) {
    static const int8_t row_of[] = {-1, 1, 0, 0}, column_of[] = {0, 0, -1, 1};
    pico_state *s = t->s;
    pico_agent *a = &s->agents[agent];
    int32_t row = a->row + row_of[action], column = a->column + column_of[action];
    /* Tiles outside the level and left of the screen are not free: the plane says so. */
    if (*pico_tile(s, row, column) != PICO_FREE || column >= screen_end(t)) return;
    if (row == s->door_row && column == s->door_column) {
        if (s->door_open || s->key_holder == agent) leave(t, agent);
        return;
    }
    if (agent_at(t, row, column) >= 0) return;
    a->row = row;
    a->column = column;
    for (int32_t i = 0; i < s->num_bullets; i++) {
        pico_bullet bullet = pico_bullets(s)[i];
        if (bullet.row != row || bullet.column != column) continue;
        remove_bullet(s, i);
        hit(t, agent, bullet.owner);
        return;
    }
    if (s->key_status == PICO_KEY_GROUND && row == s->key_row && column == s->key_column) {
        s->key_status = PICO_KEY_HELD;
        s->key_holder = agent;
        count(t, agent, PICO_TERM_KEY, 1);
        if (s->stats[PICO_STAT_KEY_TICK] < 0) s->stats[PICO_STAT_KEY_TICK] = s->tick;
    }
}

static void act(tick_context *t, const int32_t *actions) {
    pico_state *s = t->s;
    int32_t num_agents = t->config->num_agents;
    int32_t agent = (s->tick - 1) % num_agents;
    for (int32_t i = 0; i < num_agents; i++) {
        if (s->agents[agent].status == PICO_PLAYING) {
            int32_t action = actions[agent];
            if (action <= PICO_RIGHT)
                move(t, agent, action);
            else if (action == PICO_SHOOT)
                shoot(t, agent);
            else
                s->stats[PICO_STAT_IDLE_TICKS]++;
        }
        if (++agent == num_agents) agent = 0;
    }
}

static void fly(tick_context *t) {
    pico_state *s = t->s;
    pico_bullet *bullets = pico_bullets(s);
    int32_t num_left = 0;
    for (int32_t i = 0; i < s->num_bullets; i++) {
        pico_bullet bullet = bullets[i];
        int32_t gone = 0;
        for (int32_t tile = 0; tile < s->bullet_speed && !gone; tile++) {
            bullet.column++;
            gone = resolve_bullet(t, bullet.owner, bullet.row, bullet.column);
        }
        if (!gone) bullets[num_left++] = bullet;
    }
    memset(bullets + num_left, 0, (size_t)(s->num_bullets - num_left) * sizeof *bullets);
    s->num_bullets = num_left;
}

static void scroll(tick_context *t) {
    pico_state *s = t->s;
    if (s->left + t->config->screen_width >= s->length) return;
    for (int32_t row = 0; row < s->height; row++) *pico_tile(s, row, s->left) |= PICO_OUT;
    s->left++;
    for (int32_t i = 0; i < t->config->num_agents; i++)
        if (s->agents[i].status == PICO_PLAYING && s->agents[i].column < s->left) {
            count(t, i, PICO_TERM_CRUSHED, 1);
            s->stats[PICO_STAT_CRUSHED]++;
            die(t, i, PICO_CAUSE_CRUSHED);
        }
}

/* Where everyone stood, and towards what, when the tick began. */
typedef struct beginning {
    int32_t row, column; /* of the objective */
    int32_t is_key, is_held, holder;
    int32_t distance[PICO_MAX_AGENTS]; /* -1: not in play */
} beginning;

static int32_t distance(const beginning *b, const pico_agent *a) {
    return abs(b->row - a->row) + abs(b->column - a->column);
}

static beginning look(const tick_context *t) {
    const pico_state *s = t->s;
    beginning b;
    b.is_key = s->key_status == PICO_KEY_GROUND;
    b.is_held = s->key_status == PICO_KEY_HELD;
    b.holder = s->key_holder;
    b.row = b.is_key ? s->key_row : s->door_row;
    b.column = b.is_key ? s->key_column : s->door_column;
    for (int32_t i = 0; i < t->config->num_agents; i++)
        b.distance[i] = s->agents[i].status == PICO_PLAYING ? distance(&b, &s->agents[i]) : -1;
    return b;
}

static void count_progress(tick_context *t, const beginning *b) {
    for (int32_t i = 0; i < t->config->num_agents; i++) {
        if (b->distance[i] < 0) continue;
        pico_term term = b->is_key        ? PICO_TERM_PROGRESS_KEY
                         : !b->is_held    ? PICO_TERM_PROGRESS_EXIT
                         : i == b->holder ? PICO_TERM_PROGRESS_UNLOCK
                                          : PICO_TERM_PROGRESS_FOLLOW;
        count(t, i, term, b->distance[i] - distance(b, &t->s->agents[i]));
        count(t, i, PICO_TERM_ALIVE, 1);
        t->s->stats[PICO_STAT_ACTIVE_TICKS]++;
    }
}

static void lose(pico_state *s, int32_t cause) {
    s->outcome = PICO_DEFEAT;
    s->cause = cause;
}

/* The first condition that holds ends the game. */
static int32_t judge(tick_context *t) {
    pico_state *s = t->s;
    int32_t num_agents = t->config->num_agents;
    if (s->num_out == num_agents) {
        s->outcome = PICO_VICTORY;
        s->cause = PICO_CAUSE_VICTORY;
        for (int32_t i = 0; i < num_agents; i++) count(t, i, PICO_TERM_VICTORY, 1);
        return BATCH_TERMINATED;
    }
    if (s->num_dead > 0 && t->config->on_death == PICO_ON_DEATH_DEFEAT)
        lose(s, s->first_death);
    else if (s->num_playing == 0)
        lose(s, s->last_death);
    else if (s->key_status == PICO_KEY_GROUND && s->key_column < s->left)
        lose(s, PICO_CAUSE_KEY_LOST);
    else if (s->door_column < s->left)
        lose(s, PICO_CAUSE_DOOR_LOST);
    else if (s->tick == s->time_limit)
        lose(s, PICO_CAUSE_TIME);
    else
        return BATCH_RUNNING;
    for (int32_t i = 0; i < num_agents; i++) {
        count(t, i, PICO_TERM_DEFEAT, 1);
        if (s->agents[i].status != PICO_LEFT_BY_DOOR) count(t, i, PICO_TERM_STRANDED, 1);
    }
    return BATCH_TERMINATED;
}

static int32_t tick(const void *rules, void *state, const int32_t *actions, float *terms) {
    tick_context t = {rules, state, terms};
    beginning b = look(&t);
    t.s->tick++;
    act(&t, actions);
    fly(&t);
    for (int32_t i = 0; i < t.config->num_agents; i++)
        if (t.s->agents[i].cooldown > 0) t.s->agents[i].cooldown--;
    if (t.s->tick % t.s->scroll_period == 0) scroll(&t);
    count_progress(&t, &b);
    assert(t.s->num_playing + t.s->num_out + t.s->num_dead == t.config->num_agents);
    assert(t.s->num_bullets <= t.s->bullet_capacity);
    return judge(&t);
}

/* ---- observations ---- */

enum {
    VIEW_ABOVE = 7,
    VIEW_ASIDE = 12,
    WIDE_BYTES = 32, /* what wide instructions move at once */
    CHANNEL_BYTES = PICO_VIEW_ROWS * PICO_VIEW_COLUMNS,
    GRID_BYTES = PICO_VIEW_CHANNELS * CHANNEL_BYTES,
    VIEW_BYTES = (CHANNEL_BYTES + WIDE_BYTES + 63) / 64 * 64
};

/* The tiles that an agent sees, row behind row. Whole words are copied; what is too much falls into
 * the next row, which comes later. */
static ALWAYS_INLINE void copy_view(const pico_state *s, const pico_agent *me, uint8_t *view) {
    assert(is_cell(s, me->row, me->column) && me->column >= s->left);
    const uint8_t *tiles = pico_tile(s, me->row - VIEW_ABOVE, me->column - VIEW_ASIDE);
    int32_t stride = s->stride;
    for (int32_t row = 0; row < PICO_VIEW_ROWS; row++, tiles += stride)
        memcpy(view + row * PICO_VIEW_COLUMNS, tiles, WIDE_BYTES);
}

/* Writes the three channels that come from the tiles: solid, own block, other block. `num_bytes`
 * tiles at once, in whatever a processor has for it: the same function is made in two widths. Tiles
 * are signed here, so that those marked PICO_OUT are negative. The last stretch overlaps. */
#define DEFINE_WRITE_TILES(name, num_bytes)                                                        \
    static ALWAYS_INLINE void name(const uint8_t *view, int8_t own, int8_t num_agents,             \
                                   uint8_t *out) {                                                 \
        typedef int8_t tiles __attribute__((vector_size(num_bytes)));                              \
        for (int32_t at = 0; at < CHANNEL_BYTES; at += num_bytes) {                                \
            int32_t from = at < CHANNEL_BYTES - num_bytes ? at : CHANNEL_BYTES - num_bytes;        \
            tiles tile;                                                                            \
            memcpy(&tile, view + from, sizeof tile);                                               \
            tiles is_block = (tile > PICO_FREE) & (tile < PICO_WALL);                              \
            tiles solid = ~(is_block | (tile == PICO_FREE)) & 1;                                   \
            tiles mine = (tile == own) & 1;                                                        \
            tiles colour = tile & is_block;                                                        \
            tiles other = (colour - own + ((colour < own) & num_agents)) & is_block;               \
            memcpy(out + from, &solid, sizeof solid);                                              \
            memcpy(out + CHANNEL_BYTES + from, &mine, sizeof mine);                                \
            memcpy(out + 2 * CHANNEL_BYTES + from, &other, sizeof other);                          \
        }                                                                                          \
    }

DEFINE_WRITE_TILES(write_tiles_16, 16)
DEFINE_WRITE_TILES(write_tiles_32, 32)

/* The library's memset: where compilers see how many bytes there are, they put a string instruction
 * in its place that takes longer to start than these few take to write. */
static void *(*const volatile set_bytes)(void *, int, size_t) = memset;

/* In this form compilers use minimum and maximum instead of branches. */
static float clip(float x) {
    x = x < 1.0f ? x : 1.0f;
    return x > -1.0f ? x : -1.0f;
}

/* What every agent of a game reads alike. */
typedef struct outlook {
    float clock, speed, held, open, share_out;
    int32_t objective_row, objective_column;
} outlook;

static outlook look_out(const pico_config *config, const pico_state *s) {
    outlook o;
    int32_t on_ground = s->key_status == PICO_KEY_GROUND;
    o.clock = (float)(s->tick % s->scroll_period) / (float)s->scroll_period;
    o.speed = 1.0f / (float)s->scroll_period;
    o.held = s->key_status == PICO_KEY_HELD;
    o.open = (float)s->door_open;
    o.share_out = (float)s->num_out / (float)config->num_agents;
    o.objective_row = on_ground ? s->key_row : s->door_row;
    o.objective_column = on_ground ? s->key_column : s->door_column;
    return o;
}

static void view_globals(const pico_config *config, const pico_state *s, const outlook *o,
                         int32_t agent, float *out) {
    const pico_agent *me = &s->agents[agent];
    out[0] = clip((float)(me->column - s->left) / (float)config->screen_width);
    out[1] = (float)me->row / (float)s->height;
    out[2] = o->clock;
    out[3] = o->speed;
    out[4] = s->key_holder == agent;
    out[5] = o->held;
    out[6] = o->open;
    out[7] = clip((float)(o->objective_column - me->column) / (float)PICO_VIEW_COLUMNS);
    out[8] = clip((float)(o->objective_row - me->row) / (float)PICO_VIEW_ROWS);
    out[9] = config->shot_cooldown ? (float)me->cooldown / (float)config->shot_cooldown : 0.0f;
    out[10] = o->share_out;
}

static inline void put_thing(uint8_t *channel, const pico_agent *me, int32_t row, int32_t column,
                             uint8_t value) {
    uint32_t y = (uint32_t)(row - me->row + VIEW_ABOVE);
    uint32_t x = (uint32_t)(column - me->column + VIEW_ASIDE);
    if (y < PICO_VIEW_ROWS && x < PICO_VIEW_COLUMNS) channel[y * PICO_VIEW_COLUMNS + x] = value;
}

static void view_agents(const pico_config *config, const pico_state *s, int32_t me, uint8_t *out) {
    for (int32_t i = 0; i < config->num_agents; i++) {
        if (i == me || s->agents[i].status != PICO_PLAYING) continue;
        int32_t seat = i - me + (i < me ? config->num_agents : 0);
        put_thing(out, &s->agents[me], s->agents[i].row, s->agents[i].column,
                  (uint8_t)(seat + (s->key_holder == i ? 8 : 0)));
    }
}

static void view_things(const pico_state *s, const pico_agent *me, uint8_t *out) {
    if (s->door_column >= s->left)
        put_thing(out, me, s->door_row, s->door_column, s->door_open ? 4 : 3);
    if (s->key_status == PICO_KEY_GROUND && s->key_column >= s->left)
        put_thing(out, me, s->key_row, s->key_column, 2);
    for (int32_t i = 0; i < s->num_bullets; i++)
        put_thing(out, me, pico_bullets(s)[i].row, pico_bullets(s)[i].column, 1);
}

static ALWAYS_INLINE void observe_with(void (*write_tiles)(const uint8_t *, int8_t, int8_t,
                                                           uint8_t *),
                                       const pico_config *config, const pico_state *s,
                                       uint8_t *const *parts, uint8_t *alive) {
    _Alignas(64) uint8_t views[PICO_MAX_AGENTS][VIEW_BYTES];
    int8_t num_agents = (int8_t)config->num_agents;
    outlook o = look_out(config, s);
    /* All views first: reading bytes back in other words than they were just written in waits. */
    for (int32_t i = 0; i < num_agents; i++) {
        alive[i] = s->agents[i].status == PICO_PLAYING;
        if (alive[i]) copy_view(s, &s->agents[i], views[i]);
    }
    for (int32_t i = 0; i < num_agents; i++) {
        uint8_t *grid = parts[0] + i * GRID_BYTES;
        int8_t own = (int8_t)(i + 1);
        float *globals = (float *)(void *)parts[1] + i * PICO_NUM_GLOBALS;
        if (alive[i]) {
            write_tiles(views[i], own, num_agents, grid);
            set_bytes(grid + 3 * CHANNEL_BYTES, 0, 2 * CHANNEL_BYTES);
            view_agents(config, s, i, grid + 3 * CHANNEL_BYTES);
            view_things(s, &s->agents[i], grid + 4 * CHANNEL_BYTES);
            view_globals(config, s, &o, i, globals);
        } else {
            set_bytes(grid, 0, GRID_BYTES);
            memset(globals, 0, PICO_NUM_GLOBALS * sizeof *globals);
            globals[5] = o.held;
            globals[6] = o.open;
            globals[10] = o.share_out;
        }
    }
}

static void observe_plain(const void *rules, const void *state, uint8_t *const *parts,
                          uint8_t *alive) {
    observe_with(write_tiles_16, rules, state, parts, alive);
}

#ifdef HAS_AVX2_PATH
__attribute__((target("avx2"))) static void observe_avx2(const void *rules, const void *state,
                                                         uint8_t *const *parts, uint8_t *alive) {
    observe_with(write_tiles_32, rules, state, parts, alive);
}
#endif

void pico_use_wide(batch *b, int32_t wide) {
    batch_game *game = batch_game_of(b);
    game->observe = observe_plain;
#ifdef HAS_AVX2_PATH
    if (wide && __builtin_cpu_supports("avx2")) game->observe = observe_avx2;
#else
    (void)wide;
#endif
}

/* ---- difficulties ---- */

static int32_t check_difficulty(const pico_config *config, const pico_difficulty *d,
                                char *message) {
    /* Eight agents' ticks until the clock of the longest map ends still fit 31 bits. */
    enum { LEAST_LENGTH = 16, MANY = 1000000, MOST_TICKS_A_COLUMN = 250000 };
    int32_t is_ladder = d->layout == PICO_LAYOUT_LADDER;
    int32_t has_gaps = is_ladder && (d->share_open || d->share_gate || d->share_tunnel);
    int64_t shares = (int64_t)d->share_open + d->share_gate + d->share_curtain + d->share_tunnel;
    int32_t has_tunnels = is_ladder && d->share_tunnel > 0;
    const batch_bound bounds[] = {
        {"layout", d->layout, PICO_LAYOUT_LADDER, PICO_LAYOUT_CLASSIC},
        {"scroll_period", d->scroll_period, 1, MOST_TICKS_A_COLUMN},
        {"bullet_speed", d->bullet_speed, 1, PICO_MAX_LENGTH},
        {"bullets_per_agent", d->bullets_per_agent, 0, MANY},
        {"all_colours", d->all_colours, 0, 1},
        {"length", is_ladder ? d->length : LEAST_LENGTH, LEAST_LENGTH, PICO_MAX_LENGTH},
        {"spacing_min", is_ladder ? d->spacing_min : 1, 1, PICO_MAX_LENGTH},
        {"spacing_max", is_ladder ? d->spacing_max : 1, is_ladder ? d->spacing_min : 1,
         PICO_MAX_LENGTH},
        {"share_open", d->share_open, 0, MANY},
        {"share_gate", d->share_gate, 0, MANY},
        {"share_curtain", d->share_curtain, 0, MANY},
        {"share_tunnel", d->share_tunnel, 0, MANY},
        {"the sum of the shares", is_ladder && shares < 1 ? 0 : 1, 1, 4 * MANY},
        {"gap_min", has_gaps ? d->gap_min : 1, 1, PICO_MAX_HEIGHT},
        {"gap_max", has_gaps ? d->gap_max : 1, has_gaps ? d->gap_min : 1, PICO_MAX_HEIGHT},
        {"depth_min", has_tunnels ? d->depth_min : 1, 1, PICO_MAX_LENGTH},
        {"depth_max", has_tunnels ? d->depth_max : 1, has_tunnels ? d->depth_min : 1,
         PICO_MAX_LENGTH},
        {"height", config->height, is_ladder ? 4 : 8, PICO_MAX_HEIGHT},
    };
    return batch_check_bounds(bounds, sizeof bounds / sizeof bounds[0], message);
}

/* Explicit fields override every preset's, and may make some of them senseless; these are refused
 * when a level asks for them. */
static int32_t check_level(const void *rules, int32_t difficulty, char *message) {
    const pico_config *config = rules;
    return check_difficulty(config, &config->difficulties[difficulty], message);
}

static int32_t is_playable(const pico_config *config, int32_t difficulty) {
    char ignored[BATCH_MESSAGE_BYTES];
    return check_level(config, difficulty, ignored) == BATCH_OK;
}

/* ---- the game as bytes and text ---- */

static size_t state_bytes(const void *rules, const char *map, int32_t map_bytes) {
    const pico_config *config = rules;
    if (map) {
        int32_t height, length;
        pico_map_size(map, map_bytes, &height, &length);
        return pico_shaped_bytes(config, pico_rules_of(config, -1), height, length);
    }
    size_t most = 0;
    for (int32_t i = 0; i < config->num_difficulties; i++) {
        if (!is_playable(config, i)) continue;
        const pico_difficulty *row = &config->difficulties[i];
        size_t bytes = pico_shaped_bytes(config, row, config->height, pico_longest(row));
        if (bytes > most) most = bytes;
    }
    return most;
}

static int32_t check_map(const void *rules, const char *map, int32_t map_bytes, char *message) {
    return pico_check_map(rules, map, map_bytes, message);
}

static int32_t start(const void *rules, const batch_start *start, void *state) {
    if (!start->map) return pico_make_level(rules, start->seed, start->difficulty, state);
    pico_read_map(rules, start->map, start->map_bytes, state);
    return BATCH_OK;
}

static void finish(const void *rules, const void *state, int32_t *outcome, int32_t *cause,
                   int64_t *stats) {
    const pico_state *s = state;
    (void)rules;
    *outcome = s->outcome;
    *cause = s->cause;
    for (int32_t i = 0; i < PICO_NUM_STATS; i++) stats[i] = s->stats[i];
}

static size_t used_bytes(const void *rules, const void *state) {
    (void)rules;
    return (size_t)((const pico_state *)state)->num_bytes;
}

/* The sizes and rules are those of one of the config's difficulties. */
static int32_t check_shape(const pico_config *config, const pico_state *s, size_t num_bytes) {
    if (s->height < 1 || s->height > PICO_MAX_HEIGHT || s->length < 1 ||
        s->length > PICO_MAX_LENGTH)
        return 0;
    for (int32_t i = 0; i < config->num_difficulties; i++) {
        if (!is_playable(config, i)) continue;
        pico_state expected = {0};
        pico_shape_fields(config, &config->difficulties[i], s->height, s->length, &expected);
        if ((size_t)expected.num_bytes == num_bytes && s->num_bytes == expected.num_bytes &&
            s->stride == expected.stride && s->scroll_period == expected.scroll_period &&
            s->bullet_speed == expected.bullet_speed &&
            s->bullets_per_agent == expected.bullets_per_agent &&
            s->time_limit == expected.time_limit && s->bullet_capacity == expected.bullet_capacity)
            return 1;
    }
    return 0;
}

static int32_t is_cause_of_death(int32_t cause) {
    return cause == PICO_CAUSE_CRUSHED || cause == PICO_CAUSE_SHOT;
}

static int32_t check_clock(const pico_config *config, const pico_state *s) {
    if (s->tick < 0 || s->tick >= s->time_limit) return 0;
    int32_t room = s->length > config->screen_width ? s->length - config->screen_width : 0;
    int32_t scrolled = s->tick / s->scroll_period;
    if (s->left != (scrolled < room ? scrolled : room)) return 0;
    for (int32_t i = 0; i < PICO_NUM_STATS; i++)
        if (s->stats[i] < -1 || s->stats[i] > s->tick * config->num_agents) return 0;
    return s->num_dead == 0 ? s->first_death == 0 && s->last_death == 0
                            : is_cause_of_death(s->first_death) && is_cause_of_death(s->last_death);
}

static int32_t check_tiles(const pico_state *s) {
    const uint8_t *plane = pico_plane(s);
    int32_t num_rows = s->height + PICO_PAD_TOP + PICO_PAD_BOTTOM;
    for (int32_t y = 0; y < num_rows; y++)
        for (int32_t x = 0; x < s->stride; x++) {
            uint8_t tile = plane[y * s->stride + x];
            int32_t row = y - PICO_PAD_TOP, column = x - PICO_PAD_LEFT;
            if (!is_cell(s, row, column) ? tile != PICO_WALL
                                         : (tile & ~PICO_OUT) > PICO_WALL ||
                                               (tile & PICO_OUT) != (column < s->left) * PICO_OUT)
                return 0;
        }
    return 1;
}

/* A cell that is free and still in the game. */
static int32_t is_free(const pico_state *s, int32_t row, int32_t column) {
    return is_cell(s, row, column) && *pico_tile(s, row, column) == PICO_FREE;
}

static int32_t check_agents(const pico_config *config, const pico_state *s) {
    int32_t counts[3] = {0};
    for (int32_t i = 0; i < config->num_agents; i++) {
        const pico_agent *a = &s->agents[i];
        if (a->status < PICO_PLAYING || a->status > PICO_DEAD || !is_cell(s, a->row, a->column) ||
            a->cooldown < 0 || a->cooldown > config->shot_cooldown)
            return 0;
        if (a->status == PICO_PLAYING && !is_free(s, a->row, a->column)) return 0;
        counts[a->status]++;
    }
    return counts[PICO_PLAYING] == s->num_playing && counts[PICO_LEFT_BY_DOOR] == s->num_out &&
           counts[PICO_DEAD] == s->num_dead && s->num_playing > 0;
}

static int32_t check_things(const pico_config *config, const pico_state *s) {
    int32_t is_held = s->key_status == PICO_KEY_HELD;
    int32_t is_on_ground = s->key_status == PICO_KEY_GROUND;
    if (s->key_status < PICO_KEY_GROUND || s->key_status > PICO_KEY_GONE ||
        s->door_open != (s->key_status == PICO_KEY_GONE) ||
        !is_free(s, s->door_row, s->door_column) ||
        (is_on_ground && !is_free(s, s->key_row, s->key_column)) || s->num_bullets < 0 ||
        s->num_bullets > s->bullet_capacity)
        return 0;
    if (is_held ? s->key_holder < 0 || s->key_holder >= config->num_agents ||
                      s->agents[s->key_holder].status != PICO_PLAYING
                : s->key_holder != -1)
        return 0;
    for (int32_t i = 0; i < s->num_bullets; i++) {
        const pico_bullet *bullet = &pico_bullets(s)[i];
        if (!is_free(s, bullet->row, bullet->column) || bullet->owner < 0 ||
            bullet->owner >= config->num_agents)
            return 0;
    }
    return 1;
}

static int32_t check_state(const void *rules, const void *state, size_t num_bytes) {
    return num_bytes >= sizeof(pico_state) && check_shape(rules, state, num_bytes) &&
           check_clock(rules, state) && check_tiles(state) && check_agents(rules, state) &&
           check_things(rules, state);
}

static uint64_t state_hash(const void *rules, const void *state) {
    const pico_config *config = rules;
    const pico_state *s = state;
    /* clang-format off */
    const int32_t words[] = {
        config->num_agents, config->screen_width, config->shot_cooldown, config->on_death,
        s->height, s->length, s->scroll_period, s->bullet_speed, s->bullets_per_agent,
        s->time_limit, s->tick, s->left, s->key_status,
        s->key_status == PICO_KEY_GROUND ? s->key_row : -1,
        s->key_status == PICO_KEY_GROUND ? s->key_column : -1, s->key_holder, s->door_row,
        s->door_column, s->door_open, s->first_death, s->last_death, s->num_bullets};
    /* clang-format on */
    uint64_t hash = 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        hash = random_hash(hash, (uint64_t)(int64_t)words[i]);
    for (int32_t i = 0; i < config->num_agents; i++) {
        const pico_agent *a = &s->agents[i];
        hash = random_hash(hash, (uint64_t)a->status);
        if (a->status != PICO_PLAYING) continue;
        hash = random_hash(hash, (uint64_t)a->row);
        hash = random_hash(hash, (uint64_t)a->column);
        hash = random_hash(hash, (uint64_t)a->cooldown);
    }
    for (int32_t i = 0; i < s->num_bullets; i++) {
        const pico_bullet *bullet = &pico_bullets(s)[i];
        hash = random_hash(hash, (uint64_t)bullet->row);
        hash = random_hash(hash, (uint64_t)bullet->column);
        hash = random_hash(hash, (uint64_t)bullet->owner);
    }
    for (int32_t row = 0; row < s->height; row++)
        hash = random_hash_bytes(hash, pico_tile(s, row, s->left), (size_t)(s->length - s->left));
    return hash;
}

static char tile_char(uint8_t tile) {
    tile &= (uint8_t)~PICO_OUT;
    return tile == PICO_FREE ? '.' : tile == PICO_WALL ? '#' : (char)('a' + tile - 1);
}

static int64_t text(const void *rules, const void *state, char *out, int64_t num_bytes) {
    const pico_config *config = rules;
    const pico_state *s = state;
    int64_t width = s->length + 1, needed = s->height * width + 1;
    if (num_bytes < needed) return needed;
    for (int32_t row = 0; row < s->height; row++) {
        for (int32_t column = 0; column < s->length; column++)
            out[row * width + column] = tile_char(*pico_tile(s, row, column));
        out[row * width + s->length] = '\n';
    }
    out[s->height * width] = '\0';
    out[s->door_row * width + s->door_column] = s->door_open ? 'O' : 'D';
    if (s->key_status == PICO_KEY_GROUND) out[s->key_row * width + s->key_column] = 'K';
    for (int32_t i = 0; i < s->num_bullets; i++)
        out[pico_bullets(s)[i].row * width + pico_bullets(s)[i].column] = '-';
    for (int32_t i = 0; i < config->num_agents; i++)
        if (s->agents[i].status == PICO_PLAYING)
            out[s->agents[i].row * width + s->agents[i].column] = (char)('0' + i);
    return needed;
}

/* ---- the table, configs, batches ---- */

static const batch_game the_game = {
    .name = "pico_park",
    .version = SIMULATOR_VERSION,
    .num_actions = PICO_NUM_ACTIONS,
    .num_terms = PICO_NUM_TERMS,
    .num_stats = PICO_NUM_STATS,
    .term_names = term_names,
    .stat_names = stat_names,
    .outcome_names = outcome_names,
    .cause_names = cause_names,
    .observation_bytes = {GRID_BYTES, (int64_t)sizeof(float) * PICO_NUM_GLOBALS},
    .state_bytes = state_bytes,
    .check_level = check_level,
    .check_map = check_map,
    .start = start,
    .tick = tick,
    .observe = observe_plain,
    .finish = finish,
    .used_bytes = used_bytes,
    .check_state = check_state,
    .state_hash = state_hash,
    .text = text,
};

int32_t pico_check_config(const pico_config *config, char *message) {
    enum { MANY = 1000000 };
    int32_t last_difficulty = config->num_difficulties > 0 ? config->num_difficulties - 1 : 0;
    const batch_bound bounds[] = {
        {"num_agents", config->num_agents, PICO_MIN_AGENTS, PICO_MAX_AGENTS},
        {"height", config->height, 4, PICO_MAX_HEIGHT},
        {"screen_width", config->screen_width, 6, PICO_MAX_LENGTH},
        {"shot_cooldown", config->shot_cooldown, 0, MANY},
        {"time_limit", config->time_limit, 0, MANY},
        {"on_death", config->on_death, PICO_ON_DEATH_DEFEAT, PICO_ON_DEATH_CONTINUE},
        {"num_difficulties", config->num_difficulties, 1, PICO_MAX_DIFFICULTIES},
        {"difficulty", config->difficulty, 0, last_difficulty},
    };
    int32_t status = batch_check_bounds(bounds, sizeof bounds / sizeof bounds[0], message);
    return status == BATCH_OK ? check_level(config, config->difficulty, message) : status;
}

/* Draws a few levels, so that a difficulty that can't be met is refused now and not in mid-run. */
static int32_t try_levels(const pico_config *config, char *message) {
    enum { NUM_TRIED = 4 };
    const pico_difficulty *row = pico_rules_of(config, -1);
    size_t bytes = pico_shaped_bytes(config, row, config->height, pico_longest(row));
    pico_state *s = calloc(1, bytes);
    int32_t status = s ? BATCH_OK : BATCH_NO_MEMORY;
    for (uint64_t seed = 0; status == BATCH_OK && seed < NUM_TRIED; seed++) {
        memset(s, 0, bytes);
        status = pico_make_level(config, seed, -1, s);
    }
    free(s);
    if (status != BATCH_OK)
        snprintf(message, BATCH_MESSAGE_BYTES,
                 status == BATCH_NO_MEMORY
                     ? "memory is short for a level."
                     : "no level of this difficulty lets %d agents reach key and door and needs "
                       "their colours; make it longer, its obstacles denser, or all_colours false.",
                 config->num_agents);
    return status;
}

batch *pico_create(const pico_config *config, int32_t num_envs, char *message) {
    const batch_bound bounds[] = {{"num_envs", num_envs, 1, 1 << 20}};
    if (batch_check_bounds(bounds, 1, message) != BATCH_OK) return NULL;
    if (pico_check_config(config, message) != BATCH_OK) return NULL;
    if (try_levels(config, message) != BATCH_OK) return NULL;
    batch_game game = the_game;
    game.num_agents = config->num_agents;
    game.num_difficulties = config->num_difficulties;
    game.default_difficulty = config->difficulty;
    batch *b = batch_create(&game, config, sizeof *config, num_envs);
    if (!b) {
        snprintf(message, BATCH_MESSAGE_BYTES, "memory is short for %d games.", num_envs);
        return NULL;
    }
    pico_use_wide(b, 1);
    return b;
}

int32_t pico_show(const batch *b, int32_t game, int32_t ended, pico_frame *frame, uint8_t *tiles,
                  int32_t *bullets, int32_t capacity) {
    const pico_state *s = ended ? batch_ended_state_of(b, game) : batch_state_of(b, game);
    if (!s || strcmp(batch_game_name(b), the_game.name) != 0) return BATCH_BAD_ARGUMENT;
    *frame = (pico_frame){.height = s->height,
                          .length = s->length,
                          .tick = s->tick,
                          .left = s->left,
                          .key_status = s->key_status,
                          .key_row = s->key_row,
                          .key_column = s->key_column,
                          .key_holder = s->key_holder,
                          .door_row = s->door_row,
                          .door_column = s->door_column,
                          .door_open = s->door_open,
                          .num_bullets = s->num_bullets};
    for (int32_t i = 0; i < batch_num_agents(b); i++) {
        frame->agent_status[i] = s->agents[i].status;
        frame->agent_row[i] = s->agents[i].row;
        frame->agent_column[i] = s->agents[i].column;
        frame->agent_cooldown[i] = s->agents[i].cooldown;
    }
    for (int32_t row = 0; row < s->height; row++)
        for (int32_t x = 0; x < s->length; x++)
            tiles[row * s->length + x] = *pico_tile(s, row, x) & (uint8_t)~PICO_OUT;
    for (int32_t k = 0; k < s->num_bullets && k < capacity; k++) {
        const pico_bullet *bullet = &pico_bullets(s)[k];
        bullets[3 * k] = bullet->row;
        bullets[3 * k + 1] = bullet->column;
        bullets[3 * k + 2] = bullet->owner;
    }
    return BATCH_OK;
}

int32_t pico_search_level(const batch *b, int32_t game, pico_search *found) {
    const void *state = batch_state_of(b, game);
    if (!state || strcmp(batch_game_name(b), the_game.name) != 0) return BATCH_BAD_ARGUMENT;
    *found = pico_search_state(batch_rules_of(b), state);
    return BATCH_OK;
}
