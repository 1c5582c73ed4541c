/* fuzz_pico_park.c - plays whatever a fuzzer's bytes say: configs, maps, actions, forged snapshots.
 *
 * `make fuzz`, or by hand from the repository root (-max_total_time=180: for so many seconds):
 *
 *   mkdir -p build/corpus
 *   clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
 *       -ffp-contract=off native/fuzz_pico_park.c native/batch.c native/pico_park.c \
 *       native/pico_park_levels.c -o build/fuzz_pico_park
 *   build/fuzz_pico_park -max_len=1024 -len_control=0 build/corpus
 *
 * Without it: gcc, -DSTANDALONE and -fsanitize=address,undefined; the program then runs the files
 * that it is given, or random inputs: `build/fuzz_pico_park --random NUMBER SEED`.
 *
 * Beside what the sanitizers and assertions see, it aborts when a promise of batch.h is broken.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pico_park.h"
#include "random.h"

enum { NUM_GAMES = 2, MAX_CELLS = 4096, MAX_SNAPSHOT = 1 << 17 };

#define PROMISE(holds)                                                                             \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #holds);            \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The fuzzer's bytes, read from the front; zeros behind the last. */
typedef struct source {
    const uint8_t *at;
    size_t left;
} source;

static uint8_t byte(source *in) {
    if (in->left == 0) return 0;
    in->left--;
    return *in->at++;
}

static int32_t below(source *in, int32_t bound) { return byte(in) % bound; }

static int32_t word(source *in) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) value = value << 8 | byte(in);
    int32_t word;
    memcpy(&word, &value, sizeof word);
    return word;
}

/* A number that is often small, often at an edge, sometimes anything. */
static int32_t number(source *in) {
    static const int32_t edges[] = {-1, 0, 1, 2, 9, 24, 63, 64, 0x7FFF, INT32_MIN, INT32_MAX};
    int32_t kind = below(in, 3);
    if (kind == 0) return below(in, 256);
    if (kind == 1) return edges[below(in, (int32_t)(sizeof edges / sizeof edges[0]))];
    return word(in);
}

/* One batch with buffers of their own, so that each has guarded ends. */
typedef struct bench {
    batch *b;
    batch_buffers buffers;
    int32_t num_agents;
    uint8_t snapshot[MAX_SNAPSHOT];
    int64_t snapshot_bytes;
} bench;

static void *array(size_t count, size_t size) {
    void *memory = malloc(count * size);
    if (!memory) abort();
    return memory;
}

static void attach(bench *t) {
    size_t agents = NUM_GAMES * (size_t)t->num_agents;
    t->buffers = (batch_buffers){.record_capacity = NUM_GAMES};
    for (int32_t part = 0; part < 2; part++) {
        size_t bytes = (size_t)batch_observation_bytes(t->b, part);
        t->buffers.observations[part] = array(agents, bytes);
        t->buffers.final_observations[part] = array(agents, bytes);
    }
    t->buffers.terms = array(agents * PICO_NUM_TERMS, sizeof(float));
    t->buffers.rewards = array(agents, sizeof(float));
    t->buffers.terminated = array(NUM_GAMES, 1);
    t->buffers.truncated = array(NUM_GAMES, 1);
    t->buffers.alive = array(agents, 1);
    t->buffers.records = array(NUM_GAMES * (size_t)batch_record_columns(t->b), sizeof(int64_t));
    PROMISE(batch_attach(t->b, &t->buffers) == BATCH_OK);
}

static void detach(bench *t) {
    for (int32_t part = 0; part < 2; part++) {
        free(t->buffers.observations[part]);
        free(t->buffers.final_observations[part]);
    }
    free(t->buffers.terms);
    free(t->buffers.rewards);
    free(t->buffers.terminated);
    free(t->buffers.truncated);
    free(t->buffers.alive);
    free(t->buffers.records);
}

static pico_config read_config(source *in) {
    pico_config config = pico_default_config();
    config.num_agents = PICO_MIN_AGENTS + below(in, 7);
    config.height = 4 + below(in, 20);
    config.screen_width = 6 + below(in, 30);
    config.shot_cooldown = below(in, 5);
    config.on_death = below(in, 2);
    config.difficulty = below(in, config.num_difficulties);
    pico_difficulty *row = &config.difficulties[config.difficulty];
    row->bullet_speed = 1 + below(in, 4);
    row->scroll_period = 1 + below(in, 8);
    row->bullets_per_agent = below(in, 3);
    int32_t num_changes = below(in, 4);
    /* Levels that need all colours are drawn again and again, or in vain, where little fits. */
    if (num_changes > 0 || config.num_agents > 4 || config.height < 12)
        for (int32_t i = 0; i < config.num_difficulties; i++)
            config.difficulties[i].all_colours = 0;
    for (; num_changes > 0; num_changes--) {
        int32_t value = number(in);
        size_t at = (size_t)below(in, 24) * sizeof(int32_t);
        uint8_t *field = at < 32 ? (uint8_t *)&config + at : (uint8_t *)row + (at - 32);
        memcpy(field, &value, sizeof value);
    }
    return config;
}

/* Large levels cost the fuzzer its speed and show nothing that small ones don't. */
static int32_t is_small(const pico_config *config) {
    for (int32_t i = 0; i < config->num_difficulties; i++)
        if (config->difficulties[i].length > 128) return 0;
    return config->height <= 32;
}

/* A map, mostly with all it must have; its number, or a negative status. */
static int32_t read_map(source *in, bench *t) {
    static const char tiles[] = "......#abcdefgh";
    char text[MAX_CELLS];
    int32_t height = 1 + below(in, 12), length = 2 + below(in, 40), num_bytes = 0;
    for (int32_t row = 0; row < height; row++) {
        int32_t plain = below(in, 2);
        for (int32_t column = 0; column < length; column++)
            text[num_bytes++] = plain ? '.' : tiles[below(in, (int32_t)sizeof tiles - 1)];
        text[num_bytes++] = '\n';
    }
    for (int32_t i = 0; i < t->num_agents; i++)
        text[below(in, height) * (length + 1) + below(in, length < 6 ? length : 6)] =
            (char)('0' + i);
    int32_t is_open = below(in, 4) == 0;
    text[below(in, height) * (length + 1) + below(in, length)] = is_open ? 'O' : 'D';
    if (!is_open) text[below(in, height) * (length + 1) + below(in, length)] = 'K';
    if (below(in, 8) == 0) text[below(in, num_bytes)] = (char)byte(in);
    if (below(in, 16) == 0) num_bytes = below(in, num_bytes);
    char *copy = array(1, (size_t)num_bytes + 1); /* with a guarded end */
    memcpy(copy, text, (size_t)num_bytes);
    int32_t map = batch_add_map(t->b, copy, num_bytes);
    free(copy);
    return map;
}

static batch_level read_level(source *in, bench *t) {
    batch_level level = {.seed = (uint64_t)word(in), .difficulty = -1, .map = -1};
    if (below(in, 2)) level.map = read_map(in, t);
    if (level.map < 0) level.map = -1;
    if (below(in, 16) == 0) level.map = number(in);
    if (below(in, 4) == 0) level.difficulty = number(in);
    level.fresh = below(in, 2);
    level.held_out = below(in, 2);
    return level;
}

/* Whatever can be asked of a game can be asked of any game. */
static void look_at(bench *t, int32_t game) {
    pico_search found;
    batch_level level;
    PROMISE(batch_current_level(t->b, game, &level) == BATCH_OK);
    PROMISE(pico_search_level(t->b, game, &found) == BATCH_OK);
    int64_t num_bytes = batch_text(t->b, game, 0, NULL, 0);
    char *text = array(1, (size_t)num_bytes);
    PROMISE(batch_text(t->b, game, 0, text, num_bytes) == num_bytes);
    PROMISE(text[num_bytes - 1] == '\0');
    free(text);
}

static void step(source *in, bench *t) {
    int32_t actions[NUM_GAMES * PICO_MAX_AGENTS];
    int32_t count = NUM_GAMES * t->num_agents, one_for_all = below(in, 2), is_bad = 0;
    for (int32_t ticks = 1 + below(in, 32); ticks > 0; ticks--) {
        for (int32_t i = 0; i < count; i++) {
            actions[i] = one_for_all && i > 0 ? actions[0] : byte(in) % 64 % 7;
            is_bad |= actions[i] >= PICO_NUM_ACTIONS;
        }
        uint64_t before = batch_state_hash(t->b, 0);
        int32_t status = batch_step(t->b, actions);
        batch_clear_records(t->b);
        if (is_bad) {
            PROMISE(status == BATCH_BAD_ACTION && before == batch_state_hash(t->b, 0));
            return;
        }
        if (status == BATCH_LEVEL_IMPOSSIBLE) PROMISE(batch_reset(t->b, NULL) != BATCH_NOT_READY);
        if (batch_text(t->b, 0, 0, NULL, 0) < 0) return; /* not even the reset found a level */
    }
}

static void save(bench *t, int32_t game) {
    int64_t num_bytes = batch_snapshot_bytes(t->b, game);
    if (num_bytes > MAX_SNAPSHOT) return;
    PROMISE(batch_snapshot(t->b, game, t->snapshot, num_bytes) == BATCH_OK);
    t->snapshot_bytes = num_bytes;
}

/* Changes bytes, mends length and checksum so that only the contents can be refused. */
static void forge(source *in, bench *t) {
    int64_t num_bytes = t->snapshot_bytes;
    if (num_bytes < 64) return;
    for (int32_t changes = 1 + below(in, 4); changes > 0; changes--) {
        int32_t value = number(in), width = 1 << below(in, 3);
        int64_t at = (byte(in) << 8 | byte(in)) % (num_bytes - 12);
        if (width == 4) at &= ~3;
        memcpy(t->snapshot + at, &value, (size_t)width);
    }
    if (below(in, 8) == 0) num_bytes -= below(in, 64) % (num_bytes - 32);
    uint64_t size = (uint64_t)num_bytes;
    if (below(in, 8)) memcpy(t->snapshot + 16, &size, sizeof size);
    uint64_t checksum = random_hash_bytes(0, t->snapshot, (size_t)num_bytes - 8);
    memcpy(t->snapshot + num_bytes - 8, &checksum, sizeof checksum);
    t->snapshot_bytes = num_bytes;
}

static void restore(bench *t, int32_t game) {
    uint64_t before = batch_state_hash(t->b, game);
    uint8_t *copy = array(1, (size_t)t->snapshot_bytes + 1);
    memcpy(copy, t->snapshot, (size_t)t->snapshot_bytes);
    int32_t status = batch_restore(t->b, game, copy, t->snapshot_bytes);
    if (status != BATCH_OK) PROMISE(before == batch_state_hash(t->b, game));
    if (status == BATCH_OK) {
        uint64_t restored = batch_state_hash(t->b, game);
        save(t, game);
        PROMISE(batch_restore(t->b, NUM_GAMES - 1, t->snapshot, t->snapshot_bytes) == BATCH_OK);
        PROMISE(batch_state_hash(t->b, NUM_GAMES - 1) == restored);
    }
    free(copy);
}

static void play(source *in, bench *t) {
    batch_level levels[NUM_GAMES];
    if (batch_reset(t->b, NULL) != BATCH_OK) return;
    while (in->left > 0) {
        int32_t game = below(in, NUM_GAMES);
        switch (below(in, 8)) {
        case 0:
            for (int32_t i = 0; i < NUM_GAMES; i++) levels[i] = read_level(in, t);
            if (batch_reset(t->b, levels) == BATCH_LEVEL_IMPOSSIBLE) return;
            break;
        case 1:
            levels[0] = read_level(in, t);
            batch_queue(t->b, number(in), levels, below(in, 2));
            batch_queue(t->b, game, levels, 1);
            break;
        case 2: save(t, game); break;
        case 3:
            forge(in, t);
            restore(t, game);
            break;
        case 4: restore(t, game); break;
        case 5: pico_use_wide(t->b, below(in, 2)); break;
        default: step(in, t); break;
        }
        if (batch_text(t->b, 0, 0, NULL, 0) < 0) return;
        look_at(t, game);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    source in = {data, size};
    char message[BATCH_MESSAGE_BYTES];
    pico_config config = read_config(&in);
    if (pico_check_config(&config, message) != BATCH_OK || !is_small(&config)) return 0;
    bench *t = array(1, sizeof *t);
    t->b = pico_create(&config, NUM_GAMES, message);
    t->num_agents = config.num_agents;
    t->snapshot_bytes = 0;
    if (t->b) {
        attach(t);
        play(&in, t);
        batch_destroy(t->b);
        detach(t);
    }
    free(t);
    return 0;
}

#ifdef STANDALONE
static void run_random(int32_t count, uint64_t seed) {
    uint64_t stream = random_mix(seed);
    uint8_t data[1024];
    for (int32_t i = 0; i < count; i++) {
        size_t size = (size_t)random_below(&stream, (int32_t)sizeof data);
        for (size_t k = 0; k < size; k++) data[k] = (uint8_t)random_next(&stream);
        LLVMFuzzerTestOneInput(data, size);
    }
}

static int run_file(const char *path) {
    static uint8_t data[1 << 20];
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "%s can't be read.\n", path);
        return 1;
    }
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    return 0;
}

int main(int num_arguments, char **arguments) {
    if (num_arguments == 4 && strcmp(arguments[1], "--random") == 0) {
        run_random(atoi(arguments[2]), strtoull(arguments[3], NULL, 10));
        return 0;
    }
    int status = 0;
    for (int i = 1; i < num_arguments; i++) status |= run_file(arguments[i]);
    return status;
}
#endif
