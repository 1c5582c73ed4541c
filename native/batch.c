/* batch.c - streams, queues, records, snapshots and the step that all games share. */
#include "batch_game.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"

#ifndef CLOWDER_SOURCE_HASH
#define CLOWDER_SOURCE_HASH "unknown"
#endif

#define HELD_OUT_BIT (1ull << 63)
#define CACHE_LINE 64

typedef struct map_text {
    char *text;
    int32_t num_bytes;
} map_text;

/* What a game plays next: its queue first, then what it repeats, then fresh levels. */
typedef struct schedule {
    uint64_t stream;     /* SplitMix64 state of the level seeds */
    int32_t repeats;     /* 1: `repeat` is played for good */
    batch_level repeat;  /* valid if repeats */
    batch_level current; /* what is played now, seed filled in */
    batch_level *queue;  /* (capacity,) ring-free: entries first..last-1 wait */
    int32_t first, last, capacity;
} schedule;

struct batch {
    batch_game game;
    void *rules;
    size_t rules_bytes;
    uint64_t config_hash; /* game, version and rules: what a snapshot must agree with */
    int32_t num_envs;
    int32_t is_reset;
    uint8_t *states; /* (num_envs, stride) */
    uint8_t *ended;  /* (num_envs, stride) last states of games that ended; NULL: not kept */
    size_t stride;
    double *totals;   /* (num_envs, A, K) of the running episodes: whole numbers, exact to 2^53 */
    int64_t *lengths; /* (num_envs,) ticks of the running episodes */
    schedule *schedules;
    map_text *maps;
    int32_t num_maps;
    batch_buffers buffers;
    int32_t is_attached;
    int32_t num_records;
    float weights[BATCH_MAX_TERMS];
    float team_share;
    char message[BATCH_MESSAGE_BYTES];
};

/* ---- small helpers ---- */

static int32_t fail(batch *b, int32_t status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(b->message, sizeof b->message, format, arguments);
    va_end(arguments);
    return status;
}

static uint8_t *state_of(const batch *b, int32_t game) {
    return b->states + (size_t)game * b->stride;
}

static size_t terms_per_game(const batch *b) {
    return (size_t)b->game.num_agents * (size_t)b->game.num_terms;
}

static size_t round_up(size_t bytes) { return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE; }

static int32_t count_names(const char *const *names) {
    int32_t count = 0;
    while (names[count]) count++;
    return count;
}

static int32_t check_game(batch *b, int32_t game) {
    if (game < 0 || game >= b->num_envs)
        return fail(b, BATCH_BAD_ARGUMENT, "there is no game %d; this batch has games 0 to %d.",
                    game, b->num_envs - 1);
    return BATCH_OK;
}

/* ---- life and facts ---- */

batch *batch_create(const batch_game *game, const void *rules, size_t rules_bytes,
                    int32_t num_envs) {
    batch *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->game = *game;
    b->num_envs = num_envs;
    b->rules_bytes = rules_bytes;
    b->rules = malloc(rules_bytes);
    if (b->rules) memcpy(b->rules, rules, rules_bytes);
    if (b->rules) b->stride = round_up(game->state_bytes(b->rules, NULL, 0));
    b->states = b->rules ? aligned_alloc(CACHE_LINE, b->stride * (size_t)num_envs) : NULL;
    b->totals = calloc((size_t)num_envs * terms_per_game(b), sizeof *b->totals);
    b->lengths = calloc((size_t)num_envs, sizeof *b->lengths);
    b->schedules = calloc((size_t)num_envs, sizeof *b->schedules);
    if (!b->rules || !b->states || !b->totals || !b->lengths || !b->schedules) {
        batch_destroy(b);
        return NULL;
    }
    memset(b->states, 0, b->stride * (size_t)num_envs);
    b->config_hash = random_hash_bytes(
        random_hash_bytes((uint64_t)game->version, game->name, strlen(game->name)), rules,
        rules_bytes);
    for (int32_t i = 0; i < num_envs; i++)
        b->schedules[i].stream = batch_stream_key(0, (uint64_t)i);
    return b;
}

void batch_destroy(batch *b) {
    if (!b) return;
    for (int32_t i = 0; b->schedules && i < b->num_envs; i++) free(b->schedules[i].queue);
    for (int32_t i = 0; i < b->num_maps; i++) free(b->maps[i].text);
    free(b->maps);
    free(b->schedules);
    free(b->lengths);
    free(b->totals);
    free(b->ended);
    free(b->states);
    free(b->rules);
    free(b);
}

/* A number as it was written: whole ones in full, others without the noise of float32. */
static void write_number(char *out, size_t num_bytes, double value) {
    int32_t is_whole = value > -1e15 && value < 1e15 && value == (double)(int64_t)value;
    snprintf(out, num_bytes, is_whole ? "%.0f" : "%.7g", value);
}

int32_t batch_check_bounds(const batch_bound *bounds, size_t num_bounds, char *message) {
    for (size_t i = 0; i < num_bounds; i++) {
        const batch_bound *one = &bounds[i];
        if (one->value >= one->low && one->value <= one->high) continue;
        char value[32], low[32], high[32];
        write_number(value, sizeof value, one->value);
        write_number(low, sizeof low, one->low);
        write_number(high, sizeof high, one->high);
        snprintf(message, BATCH_MESSAGE_BYTES, "%s is %s; it must lie between %s and %s.",
                 one->name, value, low, high);
        return BATCH_BAD_CONFIG;
    }
    return BATCH_OK;
}

batch_game *batch_game_of(batch *b) { return &b->game; }
const void *batch_rules_of(const batch *b) { return b->rules; }

const void *batch_state_of(const batch *b, int32_t game) {
    return game >= 0 && game < b->num_envs && b->is_reset ? state_of(b, game) : NULL;
}

const void *batch_ended_state_of(const batch *b, int32_t game) {
    if (!b->ended || game < 0 || game >= b->num_envs || !b->is_reset) return NULL;
    return b->buffers.terminated[game] || b->buffers.truncated[game]
               ? b->ended + (size_t)game * b->stride
               : NULL;
}

const char *batch_message(const batch *b) { return b->message; }

const char *batch_status_text(int32_t status) {
    switch (status) {
    case BATCH_OK: return "done";
    case BATCH_BAD_ARGUMENT: return "an argument is out of range";
    case BATCH_BAD_CONFIG: return "the config makes no sense";
    case BATCH_BAD_ACTION: return "an action is not one of the game's";
    case BATCH_BAD_MAP: return "the map is not one";
    case BATCH_BAD_SNAPSHOT: return "the snapshot does not fit";
    case BATCH_NO_MEMORY: return "memory is short";
    case BATCH_NOT_READY: return "buffers or reset are missing";
    case BATCH_RECORDS_FULL: return "episode records must be collected first";
    case BATCH_LEVEL_IMPOSSIBLE: return "no level of this difficulty passes the search";
    default: return "unknown status";
    }
}

const char *batch_source_hash(void) { return CLOWDER_SOURCE_HASH; }
const char *batch_game_name(const batch *b) { return b->game.name; }
int32_t batch_game_version(const batch *b) { return b->game.version; }
int32_t batch_num_envs(const batch *b) { return b->num_envs; }
int32_t batch_num_agents(const batch *b) { return b->game.num_agents; }
int32_t batch_num_actions(const batch *b) { return b->game.num_actions; }
int32_t batch_num_terms(const batch *b) { return b->game.num_terms; }
int32_t batch_num_stats(const batch *b) { return b->game.num_stats; }

int32_t batch_record_columns(const batch *b) {
    return BATCH_RECORD_HEAD + b->game.num_stats + (int32_t)terms_per_game(b);
}

int64_t batch_observation_bytes(const batch *b, int32_t part) {
    return part >= 0 && part < BATCH_MAX_OBSERVATIONS ? b->game.observation_bytes[part] : 0;
}

const char *batch_term_name(const batch *b, int32_t term) {
    return term >= 0 && term < b->game.num_terms ? b->game.term_names[term] : NULL;
}

const char *batch_stat_name(const batch *b, int32_t stat) {
    return stat >= 0 && stat < b->game.num_stats ? b->game.stat_names[stat] : NULL;
}

const char *batch_outcome_name(const batch *b, int32_t outcome) {
    int32_t count = count_names(b->game.outcome_names);
    return outcome >= 0 && outcome < count ? b->game.outcome_names[outcome] : NULL;
}

const char *batch_cause_name(const batch *b, int32_t cause) {
    int32_t count = count_names(b->game.cause_names);
    return cause >= 0 && cause < count ? b->game.cause_names[cause] : NULL;
}

int32_t batch_attach(batch *b, const batch_buffers *buffers) {
    if (buffers->record_capacity < b->num_envs)
        return fail(b, BATCH_BAD_ARGUMENT, "room for %d records is too little for %d games.",
                    buffers->record_capacity, b->num_envs);
    b->buffers = *buffers;
    b->is_attached = 1;
    return BATCH_OK;
}

uint64_t batch_stream_key(uint64_t seed, uint64_t index) {
    return random_hash(random_hash(0, seed), index);
}

int32_t batch_seed(batch *b, const uint64_t *keys) {
    for (int32_t i = 0; i < b->num_envs; i++) b->schedules[i].stream = keys[i];
    return BATCH_OK;
}

int32_t batch_set_weights(batch *b, const float *weights, float team_share) {
    for (int32_t k = 0; k < b->game.num_terms; k++)
        if (!(weights[k] - weights[k] == 0.0f))
            return fail(b, BATCH_BAD_ARGUMENT, "the weight of %s is not finite.",
                        b->game.term_names[k]);
    if (!(team_share >= 0.0f && team_share <= 1.0f))
        return fail(b, BATCH_BAD_ARGUMENT, "team_share is %g; it must lie between 0 and 1.",
                    (double)team_share);
    memcpy(b->weights, weights, (size_t)b->game.num_terms * sizeof *weights);
    b->team_share = team_share;
    return BATCH_OK;
}

/* ---- maps ---- */

/* Makes every state at least num_bytes long. */
static int32_t reserve(batch *b, size_t num_bytes) {
    size_t stride = round_up(num_bytes);
    if (stride <= b->stride) return BATCH_OK;
    if (b->ended) {
        uint8_t *ended = aligned_alloc(CACHE_LINE, stride * (size_t)b->num_envs);
        if (!ended) return fail(b, BATCH_NO_MEMORY, "memory is short for %d games.", b->num_envs);
        memset(ended, 0, stride * (size_t)b->num_envs);
        free(b->ended);
        b->ended = ended;
    }
    uint8_t *states = aligned_alloc(CACHE_LINE, stride * (size_t)b->num_envs);
    if (!states) return fail(b, BATCH_NO_MEMORY, "memory is short for %d games.", b->num_envs);
    memset(states, 0, stride * (size_t)b->num_envs);
    for (int32_t i = 0; i < b->num_envs; i++)
        memcpy(states + (size_t)i * stride, state_of(b, i), b->stride);
    free(b->states);
    b->states = states;
    b->stride = stride;
    return BATCH_OK;
}

int32_t batch_add_map(batch *b, const char *text, int32_t num_bytes) {
    int32_t status = b->game.check_map(b->rules, text, num_bytes, b->message);
    if (status != BATCH_OK) return status;
    for (int32_t i = 0; i < b->num_maps; i++)
        if (b->maps[i].num_bytes == num_bytes && !memcmp(b->maps[i].text, text, (size_t)num_bytes))
            return i;
    status = reserve(b, b->game.state_bytes(b->rules, text, num_bytes));
    if (status != BATCH_OK) return status;
    map_text *maps = realloc(b->maps, ((size_t)b->num_maps + 1) * sizeof *maps);
    if (!maps) return fail(b, BATCH_NO_MEMORY, "memory is short for another map.");
    b->maps = maps;
    char *copy = malloc((size_t)num_bytes + 1);
    if (!copy) return fail(b, BATCH_NO_MEMORY, "memory is short for another map.");
    memcpy(copy, text, (size_t)num_bytes);
    copy[num_bytes] = '\0';
    maps[b->num_maps] = (map_text){copy, num_bytes};
    return b->num_maps++;
}

/* ---- levels ---- */

static int32_t check_level(batch *b, const batch_level *level) {
    if (level->map < -1 || level->map >= b->num_maps)
        return fail(b, BATCH_BAD_ARGUMENT, "there is no map %d; add it first.", level->map);
    if (level->difficulty < -1 || level->difficulty >= b->game.num_difficulties)
        return fail(b, BATCH_BAD_ARGUMENT, "there is no difficulty %d; there are 0 to %d.",
                    level->difficulty, b->game.num_difficulties - 1);
    if (level->difficulty >= 0 && b->game.check_level)
        return b->game.check_level(b->rules, level->difficulty, b->message);
    return BATCH_OK;
}

/* Picks the next level of a game and takes it out of the queue. */
static batch_level next_level(schedule *s) {
    batch_level level = {0, -1, -1, 1, 0};
    if (s->first < s->last)
        level = s->queue[s->first++];
    else if (s->repeats)
        level = s->repeat;
    if (level.fresh && level.map < 0) {
        level.seed = random_next(&s->stream) & ~HELD_OUT_BIT;
        if (level.held_out) level.seed |= HELD_OUT_BIT;
    }
    return level;
}

static int32_t start_level(batch *b, int32_t game, batch_level level) {
    batch_start start = {0};
    if (level.map >= 0) {
        start.difficulty = -1;
        start.map = b->maps[level.map].text;
        start.map_bytes = b->maps[level.map].num_bytes;
    } else {
        start.seed = level.seed;
        if (level.difficulty < 0) level.difficulty = b->game.default_difficulty;
        start.difficulty = level.difficulty;
    }
    uint8_t *state = state_of(b, game);
    memset(state, 0, b->stride);
    memset(b->totals + (size_t)game * terms_per_game(b), 0, terms_per_game(b) * sizeof *b->totals);
    b->lengths[game] = 0;
    b->schedules[game].current = level;
    int32_t status = b->game.start(b->rules, &start, state);
    if (status != BATCH_OK) {
        b->is_reset = 0;
        return fail(b, status,
                    "game %d: level seed %llu of difficulty %d can't be made; loosen the "
                    "difficulty.",
                    game, (unsigned long long)level.seed, level.difficulty);
    }
    assert(b->game.used_bytes(b->rules, state) <= b->stride);
    return BATCH_OK;
}

/* Where game's part of an observation array begins. */
static void parts_of(const batch *b, uint8_t *const *arrays, int32_t game, uint8_t **parts) {
    for (int32_t p = 0; p < BATCH_MAX_OBSERVATIONS; p++)
        parts[p] = arrays[p] ? arrays[p] + (size_t)game * (size_t)b->game.num_agents *
                                               (size_t)b->game.observation_bytes[p]
                             : NULL;
}

static void observe(batch *b, int32_t game) {
    uint8_t *parts[BATCH_MAX_OBSERVATIONS];
    parts_of(b, b->buffers.observations, game, parts);
    b->game.observe(b->rules, state_of(b, game), parts,
                    b->buffers.alive + (size_t)game * (size_t)b->game.num_agents);
}

/* Nothing has happened yet in this game. */
static void clear_outputs(batch *b, int32_t game) {
    size_t agents = (size_t)b->game.num_agents;
    memset(b->buffers.terms + (size_t)game * terms_per_game(b), 0,
           terms_per_game(b) * sizeof(float));
    memset(b->buffers.rewards + (size_t)game * agents, 0, agents * sizeof(float));
    b->buffers.terminated[game] = 0;
    b->buffers.truncated[game] = 0;
}

int32_t batch_put_state(batch *b, int32_t game, const void *state, size_t num_bytes) {
    int32_t status = check_game(b, game);
    if (status != BATCH_OK || !b->is_reset || num_bytes > b->stride) return BATCH_BAD_ARGUMENT;
    memcpy(state_of(b, game), state, num_bytes);
    clear_outputs(b, game);
    observe(b, game);
    return BATCH_OK;
}

int32_t batch_reset(batch *b, const batch_level *levels) {
    if (!b->is_attached) return fail(b, BATCH_NOT_READY, "attach buffers before the reset.");
    for (int32_t i = 0; levels && i < b->num_envs; i++) {
        int32_t status = check_level(b, &levels[i]);
        if (status != BATCH_OK) return status;
    }
    b->is_reset = 1;
    for (int32_t i = 0; i < b->num_envs; i++) {
        schedule *s = &b->schedules[i];
        s->first = s->last = 0;
        s->repeats = levels != NULL;
        memset(&s->repeat, 0, sizeof s->repeat);
        s->repeat.map = -1;
        if (levels) s->repeat = levels[i];
        int32_t status = start_level(b, i, next_level(s));
        if (status != BATCH_OK) return status;
        clear_outputs(b, i);
        observe(b, i);
    }
    return BATCH_OK;
}

/* Makes room for num_more entries behind the last. */
static int32_t reserve_queue(batch *b, schedule *s, int32_t num_more) {
    if (s->first > 0) {
        memmove(s->queue, s->queue + s->first, (size_t)(s->last - s->first) * sizeof *s->queue);
        s->last -= s->first;
        s->first = 0;
    }
    if (num_more > INT32_MAX / 2 - s->last)
        return fail(b, BATCH_BAD_ARGUMENT, "%d more levels are too many.", num_more);
    if (s->last + num_more <= s->capacity) return BATCH_OK;
    int32_t capacity = 2 * (s->last + num_more);
    batch_level *queue = realloc(s->queue, (size_t)capacity * sizeof *queue);
    if (!queue) return fail(b, BATCH_NO_MEMORY, "memory is short for %d levels.", num_more);
    s->queue = queue;
    s->capacity = capacity;
    return BATCH_OK;
}

int32_t batch_queue(batch *b, int32_t game, const batch_level *levels, int32_t num_levels) {
    int32_t status = check_game(b, game);
    for (int32_t i = 0; status == BATCH_OK && i < num_levels; i++)
        status = check_level(b, &levels[i]);
    schedule *s = &b->schedules[game >= 0 && game < b->num_envs ? game : 0];
    if (status == BATCH_OK) status = reserve_queue(b, s, num_levels);
    if (status != BATCH_OK) return status;
    for (int32_t i = 0; i < num_levels; i++) s->queue[s->last++] = levels[i];
    return BATCH_OK;
}

int32_t batch_current_level(const batch *b, int32_t game, batch_level *level) {
    if (game < 0 || game >= b->num_envs) return BATCH_BAD_ARGUMENT;
    *level = b->schedules[game].current;
    return BATCH_OK;
}

/* ---- stepping ---- */

static int32_t check_actions(batch *b, const int32_t *actions) {
    int32_t count = b->num_envs * b->game.num_agents;
    uint32_t num_actions = (uint32_t)b->game.num_actions;
    uint32_t wrong = 0;
    for (int32_t i = 0; i < count; i++) wrong |= (uint32_t)actions[i] >= num_actions;
    if (!wrong) return BATCH_OK;
    for (int32_t i = 0; i < count; i++)
        if ((uint32_t)actions[i] >= num_actions)
            return fail(b, BATCH_BAD_ACTION,
                        "env %d, agent %d: action %d is not one; actions are 0 to %d, and no game "
                        "was stepped.",
                        i / b->game.num_agents, i % b->game.num_agents, actions[i],
                        b->game.num_actions - 1);
    return BATCH_OK;
}

/* Adds the tick's terms to the episode's totals and weighs them into rewards. */
static void pay(batch *b, int32_t game, const float *terms) {
    int32_t num_agents = b->game.num_agents, num_terms = b->game.num_terms;
    double *totals = b->totals + (size_t)game * terms_per_game(b);
    float *rewards = b->buffers.rewards + (size_t)game * (size_t)num_agents;
    float own[BATCH_MAX_AGENTS] = {0};
    float sum = 0.0f;
    for (int32_t i = 0; i < num_agents; i++) {
        const float *row = terms + (size_t)i * (size_t)num_terms;
        double *total = totals + (size_t)i * (size_t)num_terms;
        for (int32_t k = 0; k < num_terms; k++) total[k] += (double)row[k];
        for (int32_t k = 0; k < num_terms; k++) own[i] += row[k] * b->weights[k];
        sum += own[i];
    }
    float shared = b->team_share * (sum / (float)num_agents);
    for (int32_t i = 0; i < num_agents; i++) rewards[i] = (1.0f - b->team_share) * own[i] + shared;
}

static void write_record(batch *b, int32_t game) {
    int64_t *row = b->buffers.records + (size_t)b->num_records++ * (size_t)batch_record_columns(b);
    const batch_level *level = &b->schedules[game].current;
    int32_t outcome = 0, cause = 0;
    b->game.finish(b->rules, state_of(b, game), &outcome, &cause, row + BATCH_RECORD_HEAD);
    row[BATCH_RECORD_GAME] = game;
    row[BATCH_RECORD_LEVEL_SEED] = level->map >= 0 ? 0 : (int64_t)level->seed;
    row[BATCH_RECORD_DIFFICULTY] = level->map >= 0 ? -1 : level->difficulty;
    row[BATCH_RECORD_LENGTH] = b->lengths[game];
    row[BATCH_RECORD_OUTCOME] = outcome;
    row[BATCH_RECORD_CAUSE] = cause;
    const double *totals = b->totals + (size_t)game * terms_per_game(b);
    int64_t *columns = row + BATCH_RECORD_HEAD + b->game.num_stats;
    for (size_t k = 0; k < terms_per_game(b); k++) columns[k] = (int64_t)totals[k];
}

static int32_t step_game(batch *b, int32_t game, const int32_t *actions) {
    float *terms = b->buffers.terms + (size_t)game * terms_per_game(b);
    memset(terms, 0, terms_per_game(b) * sizeof *terms);
    int32_t end = b->game.tick(b->rules, state_of(b, game), actions, terms);
    b->lengths[game]++;
    pay(b, game, terms);
    b->buffers.terminated[game] = end == BATCH_TERMINATED;
    b->buffers.truncated[game] = end == BATCH_TRUNCATED;
    if (end != BATCH_RUNNING) {
        uint8_t *parts[BATCH_MAX_OBSERVATIONS];
        uint8_t ignored[BATCH_MAX_AGENTS];
        parts_of(b, b->buffers.final_observations, game, parts);
        b->game.observe(b->rules, state_of(b, game), parts, ignored);
        write_record(b, game);
        if (b->ended) memcpy(b->ended + (size_t)game * b->stride, state_of(b, game), b->stride);
        int32_t status = start_level(b, game, next_level(&b->schedules[game]));
        if (status != BATCH_OK) return status;
    }
    observe(b, game);
    return BATCH_OK;
}

int32_t batch_step(batch *b, const int32_t *actions) {
    if (!b->is_reset) return fail(b, BATCH_NOT_READY, "reset the games before the first step.");
    if (b->buffers.record_capacity - b->num_records < b->num_envs)
        return fail(b, BATCH_RECORDS_FULL, "%d records wait; collect them before the next step.",
                    b->num_records);
    int32_t status = check_actions(b, actions);
    for (int32_t i = 0; status == BATCH_OK && i < b->num_envs; i++)
        status = step_game(b, i, actions + (size_t)i * (size_t)b->game.num_agents);
    return status;
}

int32_t batch_keep_ended(batch *b) {
    if (b->ended) return BATCH_OK;
    b->ended = aligned_alloc(CACHE_LINE, b->stride * (size_t)b->num_envs);
    if (!b->ended) return fail(b, BATCH_NO_MEMORY, "memory is short for %d games.", b->num_envs);
    memset(b->ended, 0, b->stride * (size_t)b->num_envs);
    return BATCH_OK;
}

int32_t batch_num_records(const batch *b) { return b->num_records; }
void batch_clear_records(batch *b) { b->num_records = 0; }

/* ---- snapshots ----
 *
 * head | state | totals | schedule | waiting levels | texts of the maps they name | checksum
 */

#define SNAPSHOT_MAGIC 0x3150414E53574C43ull /* "CLWSNAP1", little-endian */

typedef struct snapshot_head {
    uint64_t magic;
    uint64_t config_hash;
    uint64_t num_bytes; /* of the whole snapshot */
    uint64_t state_bytes;
    int64_t length; /* ticks of the running episode */
    uint64_t stream;
    int32_t repeats;
    int32_t num_waiting;
    batch_level repeat, current;
} snapshot_head;

/* Visits the levels that a snapshot names: current, repeat, then those that wait. */
static const batch_level *named_level(const schedule *s, int32_t index) {
    if (index == 0) return &s->current;
    if (index == 1) return &s->repeat;
    return &s->queue[s->first + index - 2];
}

static size_t map_bytes_of(const batch *b, const schedule *s, int32_t index) {
    if (index == 1 && !s->repeats) return 0;
    int32_t map = named_level(s, index)->map;
    return map < 0 ? 0 : (size_t)b->maps[map].num_bytes;
}

int64_t batch_snapshot_bytes(const batch *b, int32_t game) {
    if (game < 0 || game >= b->num_envs || !b->is_reset) return BATCH_BAD_ARGUMENT;
    const schedule *s = &b->schedules[game];
    int32_t num_waiting = s->last - s->first;
    size_t bytes = sizeof(snapshot_head) + b->game.used_bytes(b->rules, state_of(b, game)) +
                   terms_per_game(b) * sizeof(double) + (size_t)num_waiting * sizeof(batch_level) +
                   sizeof(uint64_t);
    for (int32_t i = 0; i < num_waiting + 2; i++) bytes += sizeof(uint64_t) + map_bytes_of(b, s, i);
    return (int64_t)bytes;
}

static uint8_t *put(uint8_t *at, const void *data, size_t num_bytes) {
    memcpy(at, data, num_bytes);
    return at + num_bytes;
}

int32_t batch_snapshot(const batch *b, int32_t game, uint8_t *data, int64_t num_bytes) {
    if (num_bytes < 0 || batch_snapshot_bytes(b, game) != num_bytes) return BATCH_BAD_ARGUMENT;
    const schedule *s = &b->schedules[game];
    snapshot_head head;
    memset(&head, 0, sizeof head);
    head.magic = SNAPSHOT_MAGIC;
    head.config_hash = b->config_hash;
    head.num_bytes = (uint64_t)num_bytes;
    head.state_bytes = b->game.used_bytes(b->rules, state_of(b, game));
    head.length = b->lengths[game];
    head.stream = s->stream;
    head.repeats = s->repeats;
    head.num_waiting = s->last - s->first;
    head.repeat = s->repeat;
    head.current = s->current;
    uint8_t *at = put(data, &head, sizeof head);
    at = put(at, state_of(b, game), head.state_bytes);
    at = put(at, b->totals + (size_t)game * terms_per_game(b), terms_per_game(b) * sizeof(double));
    if (head.num_waiting > 0)
        at = put(at, s->queue + s->first, (size_t)head.num_waiting * sizeof(batch_level));
    for (int32_t i = 0; i < head.num_waiting + 2; i++) {
        uint64_t map_bytes = map_bytes_of(b, s, i);
        at = put(at, &map_bytes, sizeof map_bytes);
        if (map_bytes) at = put(at, b->maps[named_level(s, i)->map].text, map_bytes);
    }
    uint64_t checksum = random_hash_bytes(0, data, (size_t)(at - data));
    put(at, &checksum, sizeof checksum);
    return BATCH_OK;
}

/* Reads a snapshot piece by piece and never past its end. */
typedef struct reader {
    const uint8_t *at;
    size_t left;
} reader;

static const uint8_t *take(reader *r, uint64_t num_bytes) {
    if (num_bytes > r->left) return NULL;
    const uint8_t *taken = r->at;
    r->at += num_bytes;
    r->left -= (size_t)num_bytes;
    return taken;
}

/* Totals and length of a running episode are whole numbers that int64 holds. */
static int32_t check_totals(const batch *b, const uint8_t *totals, int64_t length) {
    static const double most = 9007199254740992.0; /* 2^53 */
    for (size_t i = 0; i < terms_per_game(b); i++) {
        double total;
        memcpy(&total, totals + i * sizeof total, sizeof total);
        if (!(total >= -most && total <= most)) return 0;
    }
    return length >= 0 && length <= (int64_t)most;
}

static int32_t read_head(batch *b, reader *r, int64_t num_bytes, snapshot_head *head) {
    const uint8_t *bytes = take(r, sizeof *head);
    if (bytes) memcpy(head, bytes, sizeof *head);
    if (!bytes || head->magic != SNAPSHOT_MAGIC)
        return fail(b, BATCH_BAD_SNAPSHOT, "these %lld bytes are not a snapshot.",
                    (long long)num_bytes);
    if (head->num_bytes != (uint64_t)num_bytes)
        return fail(b, BATCH_BAD_SNAPSHOT, "the snapshot has %lld bytes but was written with %llu.",
                    (long long)num_bytes, (unsigned long long)head->num_bytes);
    uint64_t checksum;
    memcpy(&checksum, bytes + num_bytes - 8, sizeof checksum);
    if (random_hash_bytes(0, bytes, (size_t)num_bytes - 8) != checksum)
        return fail(b, BATCH_BAD_SNAPSHOT, "the snapshot was altered: its checksum is wrong.");
    if (head->config_hash != b->config_hash)
        return fail(b, BATCH_BAD_SNAPSHOT,
                    "the snapshot comes from another game, simulator version or config.");
    return BATCH_OK;
}

/* A level as a snapshot says it: its map number means nothing here, only whether there is one. */
static int32_t adopt_level(batch *b, reader *r, batch_level *level, int32_t is_used) {
    const uint8_t *count = take(r, sizeof(uint64_t));
    uint64_t map_bytes = 0;
    if (count) memcpy(&map_bytes, count, sizeof map_bytes);
    const uint8_t *text = count ? take(r, map_bytes) : NULL;
    if (!text || map_bytes > INT32_MAX)
        return fail(b, BATCH_BAD_SNAPSHOT, "the snapshot's list of levels is damaged.");
    level->map = -1;
    if (is_used && map_bytes) {
        level->map = batch_add_map(b, (const char *)text, (int32_t)map_bytes);
        if (level->map < 0) return BATCH_BAD_SNAPSHOT;
    }
    return check_level(b, level) == BATCH_OK ? BATCH_OK : BATCH_BAD_SNAPSHOT;
}

int32_t batch_restore(batch *b, int32_t game, const uint8_t *data, int64_t num_bytes) {
    int32_t status = check_game(b, game);
    if (status == BATCH_OK && !b->is_reset)
        status = fail(b, BATCH_NOT_READY, "reset the games before restoring one.");
    if (status != BATCH_OK) return status;
    snapshot_head head;
    reader r = {data, num_bytes < 0 ? 0 : (size_t)num_bytes};
    status = read_head(b, &r, num_bytes, &head);
    if (status != BATCH_OK) return status;
    const uint8_t *state = take(&r, head.state_bytes);
    const uint8_t *totals = take(&r, terms_per_game(b) * sizeof(double));
    const uint8_t *levels =
        head.num_waiting < 0 ? NULL : take(&r, (uint64_t)head.num_waiting * sizeof(batch_level));
    if (!state || !totals || !levels)
        return fail(b, BATCH_BAD_SNAPSHOT, "the snapshot is shorter than its own head says.");
    void *copy = aligned_alloc(CACHE_LINE, round_up(head.state_bytes + 1));
    if (!copy) return fail(b, BATCH_NO_MEMORY, "memory is short for a snapshot.");
    memcpy(copy, state, head.state_bytes);
    int32_t is_sound = b->game.check_state(b->rules, copy, head.state_bytes) &&
                       check_totals(b, totals, head.length);
    free(copy);
    if (!is_sound) return fail(b, BATCH_BAD_SNAPSHOT, "the snapshot's state is impossible.");
    schedule *s = &b->schedules[game];
    int32_t num_kept = s->last - s->first;
    status = reserve(b, head.state_bytes);
    if (status == BATCH_OK) status = reserve_queue(b, s, head.num_waiting);
    if (status == BATCH_OK) status = adopt_level(b, &r, &head.current, 1);
    if (status == BATCH_OK) status = adopt_level(b, &r, &head.repeat, head.repeats);
    /* The new levels wait behind the old ones until all of them have been read. */
    for (int32_t i = 0; status == BATCH_OK && i < head.num_waiting; i++) {
        memcpy(&s->queue[num_kept + i], levels + (size_t)i * sizeof(batch_level),
               sizeof(batch_level));
        status = adopt_level(b, &r, &s->queue[num_kept + i], 1);
    }
    if (status != BATCH_OK) return status;
    s->first = num_kept;
    s->last = num_kept + head.num_waiting;
    s->stream = head.stream;
    s->repeats = head.repeats != 0;
    s->repeat = head.repeat;
    s->current = head.current;
    b->lengths[game] = head.length;
    memset(state_of(b, game), 0, b->stride);
    memcpy(state_of(b, game), state, head.state_bytes);
    memcpy(b->totals + (size_t)game * terms_per_game(b), totals,
           terms_per_game(b) * sizeof(double));
    clear_outputs(b, game);
    observe(b, game);
    return BATCH_OK;
}

uint64_t batch_state_hash(const batch *b, int32_t game) {
    if (game < 0 || game >= b->num_envs || !b->is_reset) return 0;
    return b->game.state_hash(b->rules, state_of(b, game));
}

int64_t batch_text(const batch *b, int32_t game, int32_t ended, char *text, int64_t num_bytes) {
    const void *state = ended ? batch_ended_state_of(b, game) : batch_state_of(b, game);
    return state ? b->game.text(b->rules, state, text, num_bytes) : BATCH_BAD_ARGUMENT;
}
