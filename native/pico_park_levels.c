/* pico_park_levels.c - how levels of Pico Park come to be: drawn, searched, or read from text. */
#include <stdio.h>
#include <string.h>

#include "pico_park_state.h"
#include "random.h"

enum {
    FIRST_OBSTACLE = 6, /* columns 6..8 */
    FREE_AT_END = 7,    /* no obstacle in the last 7 columns */
    START_COLUMNS = 4,  /* agents start in columns 1..4 */
    DOOR_FROM_END = 3,  /* the door's column is length - 3 */
    MAX_DRAWS = 2000,   /* of one level, before its difficulty is called impossible */
    FILL_PERCENT = 70,  /* of a tunnel's tiles behind its first column */
    CLASSIC_LONGEST = 63
};

/* ---- the ladder ---- */

/* clang-format off */
static const struct { const char *name; pico_difficulty row; } presets[] = {
    /*           layout              len per spd bul  space gap  depth  open gate curt tunnel all */
    {"meadow",   {PICO_LAYOUT_LADDER,   32, 8,  2,  0,   7, 9,  4, 6,  0, 0,  60, 20, 20,  0,  0}},
    {"gates",    {PICO_LAYOUT_LADDER,   36, 7,  2,  0,   6, 8,  3, 5,  1, 2,  25, 40, 30,  5,  0}},
    {"curtains", {PICO_LAYOUT_LADDER,   44, 6,  2,  0,   5, 7,  2, 4,  2, 3,  15, 45, 25, 15,  0}},
    {"tunnels",  {PICO_LAYOUT_LADDER,   52, 6,  2,  0,   5, 6,  2, 3,  2, 4,  10, 40, 20, 30,  1}},
    {"gauntlet", {PICO_LAYOUT_LADDER,   64, 4,  2,  0,   4, 5,  1, 2,  3, 5,  10, 35, 15, 40,  1}},
    {"classic",  {PICO_LAYOUT_CLASSIC,   0, 7,  1,  1,   0, 0,  0, 0,  0, 0,   0,  0,  0,  0,  1}},
    {"lanes",    {PICO_LAYOUT_LADDER,   52, 6,  2,  0,   4, 5,  1, 1,  5, 9,   0,  0,  0,100,  1}},
};
/* clang-format on */

enum { NUM_PRESETS = (int)(sizeof presets / sizeof presets[0]), DEFAULT_PRESET = 3 };

int32_t pico_num_presets(void) { return NUM_PRESETS; }

const char *pico_preset_name(int32_t preset) {
    return preset >= 0 && preset < NUM_PRESETS ? presets[preset].name : NULL;
}

pico_difficulty pico_preset(int32_t preset) {
    return presets[preset >= 0 && preset < NUM_PRESETS ? preset : 0].row;
}

pico_config pico_default_config(void) {
    pico_config config = {.num_agents = 4,
                          .height = 14,
                          .screen_width = 25,
                          .shot_cooldown = 3,
                          .time_limit = 0,
                          .on_death = PICO_ON_DEATH_DEFEAT,
                          .num_difficulties = NUM_PRESETS,
                          .difficulty = DEFAULT_PRESET};
    for (int32_t i = 0; i < NUM_PRESETS; i++) config.difficulties[i] = presets[i].row;
    return config;
}

/* ---- memory ---- */

int32_t pico_longest(const pico_difficulty *rules) {
    return rules->layout == PICO_LAYOUT_CLASSIC ? CLASSIC_LONGEST : rules->length;
}

static int32_t stride_of(int32_t length) {
    return (PICO_PAD_LEFT + length + PICO_PAD_RIGHT + 7) / 8 * 8;
}

/* A bullet gains on the screen's edge or at worst keeps up with it until the level's end, so it
 * flies for at most length / speed ticks; that bounds how many an agent has in the air. */
static int32_t bullets_of(const pico_config *config, const pico_difficulty *rules, int32_t length) {
    int32_t flight = length / rules->bullet_speed + 2;
    int32_t each = flight / (config->shot_cooldown > 1 ? config->shot_cooldown : 1) + 1;
    if (rules->bullets_per_agent > 0 && each > rules->bullets_per_agent)
        each = rules->bullets_per_agent;
    return config->num_agents * each;
}

size_t pico_shaped_bytes(const pico_config *config, const pico_difficulty *rules, int32_t height,
                         int32_t length) {
    size_t rows = (size_t)(height + PICO_PAD_TOP + PICO_PAD_BOTTOM);
    return sizeof(pico_state) + (size_t)bullets_of(config, rules, length) * sizeof(pico_bullet) +
           rows * (size_t)stride_of(length);
}

void pico_shape_fields(const pico_config *config, const pico_difficulty *rules, int32_t height,
                       int32_t length, pico_state *s) {
    int32_t formula = (length > 25 ? length - 25 : 0) * rules->scroll_period + 100;
    s->num_bytes = (int32_t)pico_shaped_bytes(config, rules, height, length);
    s->height = height;
    s->length = length;
    s->stride = stride_of(length);
    s->scroll_period = rules->scroll_period;
    s->bullet_speed = rules->bullet_speed;
    s->bullets_per_agent = rules->bullets_per_agent;
    s->time_limit = config->time_limit > 0 ? config->time_limit : formula;
    s->bullet_capacity = bullets_of(config, rules, length);
    s->num_playing = config->num_agents;
    s->key_holder = -1;
    s->stats[PICO_STAT_KEY_TICK] = s->stats[PICO_STAT_UNLOCK_TICK] = -1;
}

static void shape_state(const pico_config *config, const pico_difficulty *rules, int32_t height,
                        int32_t length, pico_state *s) {
    pico_shape_fields(config, rules, height, length, s);
    size_t rows = (size_t)(height + PICO_PAD_TOP + PICO_PAD_BOTTOM);
    memset(pico_plane(s), PICO_WALL, rows * (size_t)s->stride);
}

/* ---- the search ---- */

/* Columns of tiles as 64-bit words, bit r for row r. */
typedef struct columns {
    uint64_t all; /* every row of the level */
    uint64_t free[PICO_MAX_LENGTH];
    uint64_t open[PICO_MAX_LENGTH]; /* free, or a block that may be shot away */
} columns;

/* Eight rows at a time: bytes are what compilers turn into wide instructions. Sixteen columns at a
 * time: behind the last there is padding. */
static void read_below(const pico_state *s, uint8_t bound, uint64_t *below) {
    size_t width = ((size_t)s->length + 15) / 16 * 16;
    memset(below, 0, width * sizeof *below);
    for (int32_t top = 0; top < s->height; top += 8) {
        uint8_t eight[PICO_MAX_LENGTH];
        memset(eight, 0, width);
        for (int32_t row = top; row < s->height && row < top + 8; row++) {
            const uint8_t *tiles = pico_tile(s, row, 0);
            uint8_t bit = (uint8_t)(1 << (row - top));
            for (size_t x = 0; x < width; x++) eight[x] |= tiles[x] < bound ? bit : 0;
        }
        for (size_t x = 0; x < width; x++) below[x] |= (uint64_t)eight[x] << top;
    }
}

static void read_columns(const pico_state *s, columns *c) {
    c->all = ~0ull >> (PICO_MAX_HEIGHT - s->height);
    read_below(s, PICO_FREE + 1, c->free);
    read_below(s, PICO_WALL, c->open);
}

/* Spreads up and down through free cells. */
static uint64_t spread(uint64_t reached, uint64_t free, uint64_t all) {
    if (free == all) return reached ? all : 0;
    for (;;) {
        uint64_t more = reached | (((reached << 1) | (reached >> 1)) & free);
        if (more == reached) return reached;
        reached = more;
    }
}

static int32_t is_reached(const uint64_t *reached, int32_t row, int32_t column) {
    return (int32_t)(reached[column] >> row & 1);
}

static int32_t is_key_reached(const pico_state *s, const uint64_t *reached) {
    return s->key_status != PICO_KEY_GROUND || is_reached(reached, s->key_row, s->key_column);
}

static int32_t is_door_reached(const pico_state *s, const uint64_t *reached) {
    return is_reached(reached, s->door_row, s->door_column);
}

/* Which cells cats can come to, or as many of them as it takes to reach key and door. Bullets fly
 * right, so a block goes only when the cell on its left can be reached; a free cell is entered from
 * any side. */
static void flood(const pico_config *config, const pico_state *s, const columns *c,
                  uint64_t *reached) {
    int32_t last = s->length - 1;
    memset(reached, 0, (size_t)s->length * sizeof *reached);
    for (int32_t i = 0; i < config->num_agents; i++)
        if (s->agents[i].status == PICO_PLAYING)
            reached[s->agents[i].column] |= 1ull << s->agents[i].row;
    for (int32_t changed = 1; changed;) {
        changed = 0;
        for (int32_t x = 0; x <= last; x++) {
            uint64_t now = reached[x] | (x > 0 ? reached[x - 1] & c->open[x] : 0);
            now = spread(now | (x < last ? reached[x + 1] & c->free[x] : 0), c->free[x], c->all);
            changed |= now != reached[x];
            reached[x] = now;
        }
        if (is_key_reached(s, reached) && is_door_reached(s, reached)) return;
        /* Back again; if nothing comes of it, the way there was complete. */
        int32_t went_back = 0;
        for (int32_t x = last - 1; changed && x >= 0; x--) {
            uint64_t now = spread(reached[x] | (reached[x + 1] & c->free[x]), c->free[x], c->all);
            went_back |= now != reached[x];
            reached[x] = now;
        }
        changed = went_back;
    }
}

/* Whether key and door can be reached. */
static pico_search search_ways(const pico_config *config, const pico_state *s, const columns *c) {
    uint64_t reached[PICO_MAX_LENGTH];
    pico_search found = {0};
    flood(config, s, c, reached);
    found.key_reached = is_key_reached(s, reached);
    found.door_reached = is_door_reached(s, reached);
    return found;
}

/* The colours without which the door is out of reach, as bits. Stops where more than `most_spare`
 * are not among them. */
static int32_t search_colours(const pico_config *config, const pico_state *s, columns *c,
                              int32_t most_spare) {
    uint64_t blocks[PICO_MAX_AGENTS][PICO_MAX_LENGTH], reached[PICO_MAX_LENGTH];
    for (int32_t x = 0; x < s->length; x++) {
        for (int32_t i = 0; i < config->num_agents; i++) blocks[i][x] = 0;
        const uint8_t *tiles = pico_tile(s, 0, x);
        for (int32_t row = 0; c->open[x] != c->free[x] && row < s->height; row++) {
            uint8_t tile = tiles[row * s->stride];
            if (tile > PICO_FREE && tile < PICO_WALL) blocks[tile - 1][x] |= 1ull << row;
        }
    }
    int32_t needed = 0, num_spare = 0;
    for (int32_t i = 0; i < config->num_agents && num_spare <= most_spare; i++) {
        for (int32_t x = 0; x < s->length; x++) c->open[x] ^= blocks[i][x];
        flood(config, s, c, reached);
        for (int32_t x = 0; x < s->length; x++) c->open[x] ^= blocks[i][x];
        if (is_door_reached(s, reached))
            num_spare++;
        else
            needed |= 1 << i;
    }
    return needed;
}

pico_search pico_search_state(const pico_config *config, const pico_state *s) {
    columns c;
    read_columns(s, &c);
    pico_search found = search_ways(config, s, &c);
    found.colours_needed = search_colours(config, s, &c, PICO_MAX_AGENTS);
    return found;
}

/* ---- drawing ---- */

/* A level on its way: the state, the seed's stream and the cycle of colours. */
typedef struct draft {
    const pico_config *config;
    const pico_difficulty *rules;
    pico_state *s;
    uint64_t stream;
    int32_t colours[PICO_MAX_AGENTS]; /* a random permutation */
    int32_t next_colour;
} draft;

static int32_t cycled_colour(draft *d) {
    return d->colours[d->next_colour++ % d->config->num_agents];
}

/* Column by column, since most of what is drawn is high and narrow. */
static void fill(draft *d, int32_t row, int32_t column, int32_t num_rows, int32_t num_columns,
                 uint8_t tile) {
    int32_t stride = d->s->stride;
    for (int32_t x = column; x < column + num_columns; x++) {
        uint8_t *top = pico_tile(d->s, row, x);
        for (int32_t r = 0; r < num_rows; r++) top[r * stride] = tile;
    }
}

static void shuffle_colours(draft *d) {
    int32_t n = d->config->num_agents;
    for (int32_t i = 0; i < n; i++) d->colours[i] = i;
    for (int32_t i = n - 1; i > 0; i--) {
        int32_t j = random_below(&d->stream, i + 1);
        int32_t colour = d->colours[i];
        d->colours[i] = d->colours[j];
        d->colours[j] = colour;
    }
    d->next_colour = 0;
}

static int32_t gap_height(draft *d) {
    int32_t rows = random_between(&d->stream, d->rules->gap_min, d->rules->gap_max);
    return rows < d->s->height ? rows : d->s->height;
}

/* A full-height wall with one or two gaps, filled with `plug`. */
static void draw_wall(draft *d, int32_t column, int32_t thickness, uint8_t plug) {
    int32_t height = d->s->height;
    fill(d, 0, column, height, thickness, PICO_WALL);
    int32_t num_gaps = 1 + random_below(&d->stream, 2);
    int32_t upper = gap_height(d), lower = gap_height(d);
    if (num_gaps == 2 && upper + lower + 1 <= height) {
        int32_t slack = height - upper - lower - 1;
        int32_t above = random_below(&d->stream, slack + 1);
        int32_t between = 1 + random_below(&d->stream, slack - above + 1);
        fill(d, above, column, upper, thickness, plug);
        fill(d, above + upper + between, column, lower, thickness, plug);
    } else {
        fill(d, random_below(&d->stream, height - upper + 1), column, upper, thickness, plug);
    }
}

/* Columns of full-height runs of 2-5 tiles, each of a random colour. */
static void draw_curtain(draft *d, int32_t column, int32_t thickness) {
    for (int32_t x = column; x < column + thickness; x++)
        for (int32_t row = 0; row < d->s->height;) {
            int32_t run = random_between(&d->stream, 2, 5);
            if (run > d->s->height - row) run = d->s->height - row;
            int32_t colour = random_below(&d->stream, d->config->num_agents);
            fill(d, row, x, run, 1, (uint8_t)(colour + 1));
            row += run;
        }
}

/* A thick wall with one gap; its first column one colour, most of the rest random ones. */
static void draw_tunnel(draft *d, int32_t column, int32_t depth) {
    fill(d, 0, column, d->s->height, depth, PICO_WALL);
    int32_t rows = gap_height(d);
    int32_t top = random_below(&d->stream, d->s->height - rows + 1);
    fill(d, top, column, rows, depth, PICO_FREE);
    fill(d, top, column, rows, 1, (uint8_t)(cycled_colour(d) + 1));
    for (int32_t row = top; row < top + rows; row++)
        for (int32_t x = column + 1; x < column + depth; x++)
            if (random_below(&d->stream, 100) < FILL_PERCENT)
                *pico_tile(d->s, row, x) =
                    (uint8_t)(random_below(&d->stream, d->config->num_agents) + 1);
}

static void draw_obstacles(draft *d) {
    const pico_difficulty *rules = d->rules;
    int32_t open = rules->share_open, gate = open + rules->share_gate;
    int32_t curtain = gate + rules->share_curtain, all = curtain + rules->share_tunnel;
    int32_t column = FIRST_OBSTACLE + random_below(&d->stream, 3);
    for (;;) {
        int32_t kind = random_below(&d->stream, all);
        int32_t thickness = 1;
        if (kind >= curtain)
            thickness = random_between(&d->stream, rules->depth_min, rules->depth_max);
        else if (kind >= open)
            thickness = random_between(&d->stream, 1, 2);
        if (column + thickness > d->s->length - FREE_AT_END) return;
        if (kind < open)
            draw_wall(d, column, thickness, PICO_FREE);
        else if (kind < gate)
            draw_wall(d, column, thickness, (uint8_t)(cycled_colour(d) + 1));
        else if (kind < curtain)
            draw_curtain(d, column, thickness);
        else
            draw_tunnel(d, column, thickness);
        column += thickness + random_between(&d->stream, rules->spacing_min, rules->spacing_max);
    }
}

/* The key goes into a free column between 0.4 and 0.75 of the length. 0: there is none. */
static int32_t place_key(draft *d, const columns *c) {
    int32_t candidates[PICO_MAX_LENGTH];
    int32_t count = 0;
    for (int32_t x = 0; x < d->s->length; x++)
        if (5 * x >= 2 * d->s->length && 4 * x <= 3 * d->s->length && c->free[x] == c->all)
            candidates[count++] = x;
    if (count == 0) return 0;
    d->s->key_column = candidates[random_below(&d->stream, count)];
    d->s->key_row = random_below(&d->stream, d->s->height);
    return 1;
}

static void place_agents(draft *d) {
    for (int32_t i = 0; i < d->config->num_agents; i++) {
        pico_agent *agent = &d->s->agents[i];
        int32_t taken;
        do {
            agent->row = random_below(&d->stream, d->s->height);
            agent->column = 1 + random_below(&d->stream, START_COLUMNS);
            taken = 0;
            for (int32_t j = 0; j < i; j++)
                taken |=
                    d->s->agents[j].row == agent->row && d->s->agents[j].column == agent->column;
        } while (taken);
    }
}

/* The original experiment's middle: two bands of colour with patches of each in the other, and the
 * key in a hole. */
static void draw_core(draft *d, int32_t column, int32_t width) {
    pico_state *s = d->s;
    uint8_t upper = (uint8_t)(cycled_colour(d) + 1), lower = (uint8_t)(cycled_colour(d) + 1);
    int32_t border = random_between(&d->stream, s->height / 3, s->height - 1 - s->height / 3);
    fill(d, 0, column, border, width, upper);
    fill(d, border, column, s->height - border, width, lower);
    int32_t num_patches = random_between(&d->stream, 2, 4);
    for (int32_t i = 0; i < num_patches; i++) {
        int32_t rows = random_between(&d->stream, 2, s->height / 3 > 2 ? s->height / 3 : 2);
        int32_t num_columns = random_between(&d->stream, 1, width / 2);
        int32_t row = random_below(&d->stream, s->height - rows + 1);
        int32_t x = column + random_below(&d->stream, width - num_columns + 1);
        fill(d, row, x, rows, num_columns, row < border ? lower : upper);
    }
    s->key_row = random_below(&d->stream, s->height);
    s->key_column = column + random_below(&d->stream, width);
    *pico_tile(s, s->key_row, s->key_column) = PICO_FREE;
}

/* Open start, columns of colour, a frame around the key, the door. */
static void draw_classic(draft *d, const int32_t widths[7]) {
    pico_state *s = d->s;
    int32_t column = widths[0];
    for (int32_t i = 0; i < widths[1]; i++)
        fill(d, 0, column++, s->height, 1, (uint8_t)(cycled_colour(d) + 1));
    column += widths[2];
    shuffle_colours(d);
    fill(d, 0, column, s->height, widths[3], (uint8_t)(cycled_colour(d) + 1));
    fill(d, 0, column + widths[3] + widths[4], s->height, widths[5],
         (uint8_t)(cycled_colour(d) + 1));
    draw_core(d, column + widths[3], widths[4]);
}

/* Widths, in columns: start, one-colour columns, free, left side, middle, right side, free. */
static int32_t classic_widths(uint64_t *stream, int32_t widths[7]) {
    widths[0] = 25;
    widths[1] = random_between(stream, 4, 6);
    widths[2] = random_between(stream, 3, 7);
    int32_t frame = random_between(stream, 8, 14);
    do {
        widths[3] = random_between(stream, 1, 3);
        widths[5] = random_between(stream, 1, 3);
        widths[4] = frame - widths[3] - widths[5];
    } while (widths[4] < 4);
    widths[6] = random_between(stream, 4, 8);
    int32_t length = 3; /* the door and two more */
    for (int32_t i = 0; i < 7; i++) length += widths[i];
    return length;
}

static int32_t count_bits(int32_t bits) {
    int32_t count = 0;
    for (; bits; bits &= bits - 1) count++;
    return count;
}

/* One draw. 1: the level keeps every promise. */
static int32_t draw_level(draft *d) {
    pico_state *s = d->s;
    int32_t widths[7], length = d->rules->length;
    if (d->rules->layout == PICO_LAYOUT_CLASSIC) length = classic_widths(&d->stream, widths);
    shape_state(d->config, d->rules, d->config->height, length, s);
    for (int32_t row = 0; row < s->height; row++)
        memset(pico_tile(s, row, 0), PICO_FREE, (size_t)s->length);
    shuffle_colours(d);
    place_agents(d);
    s->door_column = length - DOOR_FROM_END;
    int32_t is_classic = d->rules->layout == PICO_LAYOUT_CLASSIC;
    if (is_classic)
        draw_classic(d, widths);
    else
        draw_obstacles(d);
    columns c;
    read_columns(s, &c);
    if (!is_classic && !place_key(d, &c)) return 0;
    s->door_row = random_below(&d->stream, s->height);
    pico_search found = search_ways(d->config, s, &c);
    if (!found.key_reached || !found.door_reached) return 0;
    if (!d->rules->all_colours) return 1;
    int32_t num_agents = d->config->num_agents, enough = num_agents < 4 ? num_agents : 4;
    return count_bits(search_colours(d->config, s, &c, num_agents - enough)) >= enough;
}

int32_t pico_make_level(const pico_config *config, uint64_t seed, int32_t difficulty,
                        pico_state *s) {
    draft d = {.config = config, .s = s, .stream = random_mix(seed)};
    d.rules = pico_rules_of(config, difficulty);
    for (int32_t i = 0; i < MAX_DRAWS; i++) {
        if (draw_level(&d)) return BATCH_OK;
        memset(s, 0, (size_t)s->num_bytes);
    }
    return BATCH_LEVEL_IMPOSSIBLE;
}

/* ---- maps by hand ---- */

void pico_map_size(const char *map, int32_t num_bytes, int32_t *height, int32_t *length) {
    const char *end = memchr(map, '\n', (size_t)num_bytes);
    *length = end ? (int32_t)(end - map) : num_bytes;
    *height = 0;
    for (int32_t i = 0; i < num_bytes; i++) *height += map[i] == '\n';
    if (num_bytes > 0 && map[num_bytes - 1] != '\n') ++*height;
}

/* What a map must have exactly so many of, found on the way through it. */
typedef struct census {
    int32_t keys, shut_doors, open_doors, num_agents;
    int32_t agents[PICO_MAX_AGENTS];
} census;

/* A reason why this character can't stand here, or NULL. */
static const char *check_cell(const pico_config *config, char cell, int32_t column, census *count) {
    if (cell == '.' || cell == '#') return NULL;
    if (cell >= 'a' && cell <= 'h')
        return cell - 'a' < config->num_agents ? NULL : "nobody has this block's colour";
    if (cell >= '0' && cell <= '7') {
        if (count->agents[cell - '0']++) return "this agent stands on the map twice";
        count->num_agents++;
        return column < config->screen_width ? NULL : "agents must stand on the first screen";
    }
    if (cell == 'K') return count->keys++ ? "there is a second key" : NULL;
    if (cell == 'D' || cell == 'O') {
        if (count->shut_doors + count->open_doors) return "there is a second door";
        *(cell == 'D' ? &count->shut_doors : &count->open_doors) += 1;
        return NULL;
    }
    return "this is none of . # a-h 0-7 K D O";
}

static int32_t bad_map(char *message, const char *reason) {
    snprintf(message, BATCH_MESSAGE_BYTES, "the map is refused: %s.", reason);
    return BATCH_BAD_MAP;
}

static int32_t check_census(const pico_config *config, const census *count, char *message) {
    if (count->shut_doors + count->open_doors == 0) return bad_map(message, "it has no door");
    if (count->shut_doors && !count->keys)
        return bad_map(message, "it has a shut door D but no key K");
    if (count->open_doors && count->keys)
        return bad_map(message, "it has a key K but its door O is open already");
    for (int32_t i = 0; i < count->num_agents; i++)
        if (!count->agents[i]) return bad_map(message, "its agents are not 0, 1, ... without gaps");
    if (count->num_agents != config->num_agents) {
        snprintf(message, BATCH_MESSAGE_BYTES,
                 "the map is refused: it has %d agents, but num_agents is %d.", count->num_agents,
                 config->num_agents);
        return BATCH_BAD_MAP;
    }
    return BATCH_OK;
}

int32_t pico_check_map(const pico_config *config, const char *map, int32_t num_bytes,
                       char *message) {
    int32_t height, length;
    census count = {0};
    if (num_bytes < 1) return bad_map(message, "it is empty");
    pico_map_size(map, num_bytes, &height, &length);
    if (height > PICO_MAX_HEIGHT || length > PICO_MAX_LENGTH || length < 1) {
        snprintf(message, BATCH_MESSAGE_BYTES,
                 "the map is refused: it has %d rows, the first of %d columns; up to 64 rows of 1 "
                 "to 1024 columns are allowed.",
                 height, length);
        return BATCH_BAD_MAP;
    }
    int32_t row = 0, column = 0;
    for (int32_t i = 0; i <= num_bytes; i++) {
        int32_t at_end = i == num_bytes || map[i] == '\n';
        if (i == num_bytes && column == 0) break; /* the text ended with a line break */
        const char *reason = NULL;
        if (at_end && column != length)
            reason = "the row ends here, but the first row is longer";
        else if (!at_end && column >= length)
            reason = "the row goes on, but the first row is shorter";
        else if (!at_end)
            reason = check_cell(config, map[i], column, &count);
        if (reason) {
            snprintf(message, BATCH_MESSAGE_BYTES,
                     "the map is refused at row %d, column %d (counted from 0): %s.", row, column,
                     reason);
            return BATCH_BAD_MAP;
        }
        column = at_end ? 0 : column + 1;
        row += at_end;
    }
    return check_census(config, &count, message);
}

void pico_read_map(const pico_config *config, const char *map, int32_t num_bytes, pico_state *s) {
    int32_t height, length;
    pico_map_size(map, num_bytes, &height, &length);
    shape_state(config, pico_rules_of(config, -1), height, length, s);
    s->key_status = PICO_KEY_GONE;
    for (int32_t row = 0; row < height; row++)
        for (int32_t column = 0; column < length; column++) {
            char cell = map[row * (length + 1) + column];
            uint8_t tile = PICO_FREE;
            if (cell == '#') tile = PICO_WALL;
            if (cell >= 'a' && cell <= 'h') tile = (uint8_t)(cell - 'a' + 1);
            *pico_tile(s, row, column) = tile;
            if (cell >= '0' && cell <= '7') {
                s->agents[cell - '0'].row = row;
                s->agents[cell - '0'].column = column;
            }
            if (cell == 'K') {
                s->key_status = PICO_KEY_GROUND;
                s->key_row = row;
                s->key_column = column;
            }
            if (cell == 'D' || cell == 'O') {
                s->door_open = cell == 'O';
                s->door_row = row;
                s->door_column = column;
            }
        }
}
