/* A second game, as small as one can be: agents count up, the first to reach its goal wins for all.
 * It proves that native/batch.c knows nothing of Pico Park. */
#include <stdio.h>
#include <string.h>

#include "batch_game.h"
#include "random.h"

typedef struct toy_rules {
    int32_t num_agents;
    int32_t time_limit; /* ticks */
} toy_rules;

typedef struct toy_state {
    int32_t goal, tick, time_limit, winner;
    int32_t counts[BATCH_MAX_AGENTS];
} toy_state;

static const char *const term_names[] = {"up", "won", NULL};
static const char *const stat_names[] = {"winner", NULL};
static const char *const outcome_names[] = {"won", "cut", NULL};
static const char *const cause_names[] = {"goal", "clock", NULL};

static size_t state_bytes(const void *rules, const char *map, int32_t map_bytes) {
    (void)rules, (void)map, (void)map_bytes;
    return sizeof(toy_state);
}

static int32_t check_map(const void *rules, const char *map, int32_t map_bytes, char *message) {
    (void)rules;
    if (map_bytes == 1 && map[0] >= '1' && map[0] <= '9') return BATCH_OK;
    snprintf(message, BATCH_MESSAGE_BYTES, "a toy map is one digit from 1 to 9.");
    return BATCH_BAD_MAP;
}

static int32_t start(const void *rules, const batch_start *start, void *state) {
    toy_state *s = state;
    uint64_t stream = random_mix(start->seed);
    s->goal = start->map ? start->map[0] - '0' : random_between(&stream, 3, 9);
    s->time_limit = ((const toy_rules *)rules)->time_limit;
    s->winner = -1;
    return BATCH_OK;
}

static int32_t tick(const void *rules, void *state, const int32_t *actions, float *terms) {
    toy_state *s = state;
    int32_t num_agents = ((const toy_rules *)rules)->num_agents;
    s->tick++;
    for (int32_t i = 0; i < num_agents; i++) {
        s->counts[i] += actions[i];
        terms[2 * i] += (float)actions[i];
        if (s->counts[i] >= s->goal && s->winner < 0) {
            s->winner = i;
            terms[2 * i + 1] += 1.0f;
        }
    }
    if (s->winner >= 0) return BATCH_TERMINATED;
    return s->tick == s->time_limit ? BATCH_TRUNCATED : BATCH_RUNNING;
}

static void observe(const void *rules, const void *state, uint8_t *const *parts, uint8_t *alive) {
    const toy_state *s = state;
    for (int32_t i = 0; i < ((const toy_rules *)rules)->num_agents; i++) {
        float *out = (float *)(void *)parts[0] + 2 * i;
        out[0] = (float)s->counts[i] / 10.0f;
        out[1] = (float)s->goal / 10.0f;
        alive[i] = 1;
    }
}

static void finish(const void *rules, const void *state, int32_t *outcome, int32_t *cause,
                   int64_t *stats) {
    const toy_state *s = state;
    (void)rules;
    *outcome = *cause = s->winner < 0;
    stats[0] = s->winner;
}

static size_t used_bytes(const void *rules, const void *state) {
    (void)rules, (void)state;
    return sizeof(toy_state);
}

static int32_t check_state(const void *rules, const void *state, size_t num_bytes) {
    (void)rules, (void)state;
    return num_bytes == sizeof(toy_state);
}

static uint64_t state_hash(const void *rules, const void *state) {
    (void)rules;
    return random_hash_bytes(0, state, sizeof(toy_state));
}

static int64_t text(const void *rules, const void *state, char *out, int64_t num_bytes) {
    (void)rules;
    if (num_bytes < 3) return 3;
    out[0] = (char)('0' + ((const toy_state *)state)->goal);
    out[1] = '\n';
    out[2] = '\0';
    return 3;
}

batch *toy_create(int32_t num_envs, int32_t num_agents, int32_t time_limit) {
    /* clang-format off */
    const batch_game game = {
        .name = "toy", .version = 1, .num_agents = num_agents, .num_actions = 2,
        .num_difficulties = 1, .num_terms = 2, .num_stats = 1, .term_names = term_names,
        .stat_names = stat_names, .outcome_names = outcome_names, .cause_names = cause_names,
        .observation_bytes = {2 * sizeof(float), 0}, .state_bytes = state_bytes,
        .check_map = check_map, .start = start, .tick = tick, .observe = observe,
        .finish = finish, .used_bytes = used_bytes, .check_state = check_state,
        .state_hash = state_hash, .text = text};
    /* clang-format on */
    toy_rules rules = {num_agents, time_limit};
    return batch_create(&game, &rules, sizeof rules, num_envs);
}
