/* pong.c - the rules of Pong, what seats see of it, and its scripted opponents. */
#include "pong.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "batch_game.h"
#include "random.h"

#define GAME_NAME "pong"
#define SIMULATOR_VERSION 1
#define NUM_PRESETS 2

/* The court, units. */
#define HALF_WIDTH 400.0f
#define HALF_HEIGHT 200.0f
#define FACE 370.0f /* a paddle's, from the middle */
#define BACK 380.0f
#define RADIUS 10.0f
#define WALL (HALF_HEIGHT - RADIUS) /* farthest that the ball's middle is from the middle */
#define FASTEST 200.0f /* units a tick; less than a quarter of the way between paddles */

/* What moves at the end of a tick, kept for observations. */
typedef struct moment {
    float x, y, vx, vy;
    float paddle_y[2];
} moment;

typedef struct pong_state {
    uint64_t stream; /* of serves */
    int32_t is_mirrored;
    int32_t tick;       /* ticks played */
    int32_t rally_tick; /* ticks since the serve */
    int32_t rally_hits; /* contacts since the serve */
    int32_t score[2];
    int32_t touched[2]; /* in this rally */
    int32_t stats[PONG_NUM_STATS];
    moment now;
    moment past[PONG_MAX_FRAMES]; /* (frames,), the oldest first, the last is now */
} pong_state;

_Static_assert(sizeof(pong_state) == 8 + 20 * 4 + (1 + PONG_MAX_FRAMES) * sizeof(moment),
               "no padding");

static const float side_of[2] = {-1.0f, 1.0f};

static const char *const term_names[] = {"point_won", "point_lost", "hit", "rally_tick"};
static const char *const stat_names[] = {
    "score_left", "score_right", "hits_left", "hits_right", "misses_left", "misses_right",
    "still_left", "still_right", "rallies",   "untouched",  "limited",     "longest_rally",
};
static const char *const outcome_names[] = {"left_wins", "right_wins", "draw", NULL};
static const char *const cause_names[] = {"points", "time", NULL};
static const char *const preset_names[NUM_PRESETS] = {"duel", "classic"};
static const char *const opponent_names[PONG_NUM_OPPONENTS] = {
    "nobody", "random", "tracker", "slow_tracker", "predictor",
};

const char *pong_term_name(int32_t term) {
    return term >= 0 && term < PONG_NUM_TERMS ? term_names[term] : NULL;
}

const char *pong_opponent_name(int32_t opponent) {
    return opponent >= 0 && opponent < PONG_NUM_OPPONENTS ? opponent_names[opponent] : NULL;
}

static int32_t is_pong(const batch *b) { return strcmp(batch_game_name(b), GAME_NAME) == 0; }

static float clamp(float value, float low, float high) {
    return value < low ? low : value > high ? high : value;
}

/* Farthest that a paddle's middle is from the court's. */
static float reach(const pong_config *config, int32_t seat) {
    return HALF_HEIGHT - 0.5f * config->paddle_length[seat];
}

/* ---- serving ---- */

/* 0 to 1, the latter never; exact in float32. */
static float random_share(uint64_t *stream) {
    return (float)(random_next(stream) >> 40) * (1.0f / 16777216.0f);
}

static void remember_only_now(const pong_config *config, pong_state *s) {
    for (int32_t k = 0; k < config->frames; k++) s->past[k] = s->now;
}

/* Both paddles at random heights, the ball from the centre towards a spot on a face. */
static void serve(const pong_config *config, pong_state *s) {
    /* Drawn for the seats of the unmirrored game, in this order. */
    float heights[2] = {random_share(&s->stream), random_share(&s->stream)};
    int32_t drawn = (int32_t)(random_next(&s->stream) >> 63);
    float spot = 2.0f * random_share(&s->stream) - 1.0f;
    int32_t receiver = config->serve_to < 0 ? drawn ^ s->is_mirrored : config->serve_to;
    for (int32_t seat = 0; seat < 2; seat++)
        s->now.paddle_y[seat] =
            (2.0f * heights[seat ^ s->is_mirrored] - 1.0f) * reach(config, seat);
    float y = s->now.paddle_y[receiver] + spot * 0.5f * config->paddle_length[receiver];
    float scale = config->ball_speed / sqrtf(FACE * FACE + y * y);
    s->now.x = s->now.y = 0.0f;
    s->now.vx = side_of[receiver] * FACE * scale;
    s->now.vy = y * scale;
    s->touched[0] = s->touched[1] = 0;
    s->rally_tick = s->rally_hits = 0;
    remember_only_now(config, s);
}

/* ---- the ball's flight ---- */

/* Where a flight first meets a paddle. */
typedef struct contact {
    float time;     /* ticks from the flight's start */
    float offset;   /* -1 lower end, 1 upper end */
    int32_t is_end; /* 1: the side between face and back; 0: the face, its corners among it */
} contact;

/* The ball overlaps a paddle that ran into it: it is turned if it comes at what it touches. */
static int32_t meet_overlapped(float out, float up, float v_out, float v_up, float half,
                               contact *found) {
    float nearest_out = clamp(out, FACE, BACK), nearest_up = clamp(up, -half, half);
    float away_out = out - nearest_out, away_up = up - nearest_up;
    if (away_out == 0.0f && away_up == 0.0f) { /* inside: the end that the middle is nearer to */
        away_up = up < 0.0f ? -1.0f : 1.0f;
        nearest_up = up < 0.0f ? -half : half;
    }
    *found = (contact){0.0f, clamp(nearest_up / half, -1.0f, 1.0f), away_out == 0.0f};
    return v_out * away_out + v_up * away_up < 0.0f;
}

static int32_t meet_corner(float out, float up, float v_out, float v_up, float corner,
                           contact *found) {
    float to_out = out - FACE, to_up = up - corner;
    float speed2 = v_out * v_out + v_up * v_up;
    float closing = to_out * v_out + to_up * v_up;
    if (!(closing < 0.0f)) return 0;
    /* The distance of the line from the corner, without the difference of two large squares. */
    float across = to_out * v_up - to_up * v_out;
    float inside = RADIUS * RADIUS * speed2 - across * across;
    if (!(inside >= 0.0f)) return 0;
    float time = (-closing - sqrtf(inside)) / speed2;
    if (!(time >= 0.0f)) time = 0.0f; /* it touches already, but for rounding */
    float away_out = to_out + v_out * time, away_up = to_up + v_up * time;
    /* Elsewhere face or end is touched first. */
    if (away_out > 0.0f || (corner > 0.0f ? away_up < 0.0f : away_up > 0.0f)) return 0;
    *found = (contact){time, corner > 0.0f ? 1.0f : -1.0f, 0};
    return 1;
}

/* Whether a flight meets the paddle of a seat: a box without a back, its face's corners round to
 * the ball's middle. A ball that leaves a paddle doesn't feel it. */
static int32_t meet_paddle(const pong_config *config, const moment *m, int32_t seat,
                           contact *found) {
    float side = side_of[seat], half = 0.5f * config->paddle_length[seat];
    float out = side * m->x, v_out = side * m->vx;
    if (!(v_out > 0.0f) || out > BACK || out + v_out < FACE - RADIUS) return 0;
    float up = m->y - m->paddle_y[seat], v_up = m->vy;
    float away_out = out - clamp(out, FACE, BACK), away_up = up - clamp(up, -half, half);
    if (away_out * away_out + away_up * away_up < RADIUS * RADIUS)
        return meet_overlapped(out, up, v_out, v_up, half, found);
    if (out <= FACE - RADIUS) {
        float time = (FACE - RADIUS - out) / v_out, at = up + v_up * time;
        if (at >= -half && at <= half) {
            *found = (contact){time, clamp(at / half, -1.0f, 1.0f), 0};
            return 1;
        }
    }
    float end = up > 0.0f ? 1.0f : -1.0f; /* the only one that it can meet from outside */
    if (v_up * end < 0.0f) {
        float time = (end * (half + RADIUS) - up) / v_up;
        if (!(time >= 0.0f)) time = 0.0f;
        float at = out + v_out * time;
        if (at >= FACE && at <= BACK) {
            *found = (contact){time, end, 1};
            return 1;
        }
    }
    /* A flight along the face may meet either corner first. */
    contact other;
    int32_t meets = meet_corner(out, up, v_out, v_up, half, found);
    if (meet_corner(out, up, v_out, v_up, -half, &other) && (!meets || other.time < found->time)) {
        *found = other;
        meets = 1;
    }
    return meets;
}

/* What a contact makes of the ball's velocity. */
static void turn(const pong_config *config, moment *m, int32_t seat, const contact *c) {
    float side = side_of[seat], v_out = side * m->vx, v_up = m->vy;
    float speed = sqrtf(v_out * v_out + v_up * v_up);
    float most = config->ball_speed * config->max_gain;
    float faster = speed * (1.0f + config->speed_gain);
    if (faster > most) faster = most;
    if (faster < speed) faster = speed;
    float scale;
    if (config->aim) {
        v_out = -1.0f;
        v_up = config->aim_slope * c->offset;
        scale = faster / sqrtf(1.0f + v_up * v_up);
    } else { /* mirrors; a corner is one with the face, or one could aim with it */
        if (c->is_end)
            v_up = -v_up;
        else
            v_out = -v_out;
        scale = faster == speed ? 1.0f : faster / speed;
    }
    m->vx = side * (v_out * scale);
    m->vy = v_up * scale;
}

static void fly(const pong_config *config, pong_state *s, float *terms) {
    moment *m = &s->now;
    float left = 1.0f; /* of the tick */
    int32_t may_touch[2] = {1, 1};
    for (;;) {
        float x = m->x + m->vx * left, y = m->y + m->vy * left;
        /* The fastest way through the middle of the court, where most of the time is spent. */
        int32_t near_wall = y >= WALL || y <= -WALL;
        int32_t near_paddle = x >= FACE - RADIUS || x <= RADIUS - FACE;
        contact met;
        int32_t by = -1; /* 0, 1: that paddle; 2: a wall */
        float wall_time = 0.0f;
        if (near_paddle) {
            int32_t seat = m->vx > 0.0f;
            if (may_touch[seat] && meet_paddle(config, m, seat, &met) && met.time <= left)
                by = seat;
        }
        if (near_wall && m->vy != 0.0f) {
            wall_time = ((m->vy > 0.0f ? WALL : -WALL) - m->y) / m->vy;
            if (wall_time < 0.0f) wall_time = 0.0f;
            if (wall_time <= left && (by < 0 || wall_time <= met.time)) by = 2;
        }
        if (by < 0) {
            m->x = x;
            m->y = y;
            return;
        }
        float time = by == 2 ? wall_time : met.time;
        m->x += m->vx * time;
        m->y += m->vy * time;
        left -= time;
        if (by == 2) {
            m->y = m->vy > 0.0f ? WALL : -WALL;
            m->vy = -m->vy;
            continue;
        }
        turn(config, m, by, &met);
        may_touch[by] = 0;
        s->touched[by] = 1;
        s->rally_hits++;
        s->stats[PONG_STAT_HITS_LEFT + by]++;
        terms[by * PONG_NUM_TERMS + PONG_TERM_HIT] += 1.0f;
    }
}

/* ---- a tick ---- */

static void move_paddles(const pong_config *config, pong_state *s, const int32_t *actions) {
    for (int32_t seat = 0; seat < 2; seat++) {
        float before = s->now.paddle_y[seat], limit = reach(config, seat);
        float step = config->paddle_speed[seat];
        if (actions[seat] == PONG_STAY) step = 0.0f;
        if (actions[seat] == PONG_DOWN) step = -step;
        float after = clamp(before + step, -limit, limit);
        s->now.paddle_y[seat] = after;
        s->stats[PONG_STAT_STILL_LEFT + seat] += after == before;
    }
}

/* After the ball's flight: points, replays, the end. */
static int32_t judge(const pong_config *config, pong_state *s, float *terms) {
    int32_t is_over = 0, won = 0;
    if (s->now.x > HALF_WIDTH || s->now.x < -HALF_WIDTH) {
        int32_t loser = s->now.x > 0.0f, scorer = 1 - loser;
        is_over = 1;
        s->stats[PONG_STAT_MISSES_LEFT + loser]++;
        if (s->touched[scorer]) {
            s->score[scorer]++;
            s->stats[PONG_STAT_SCORE_LEFT + scorer]++;
            terms[scorer * PONG_NUM_TERMS + PONG_TERM_POINT_WON] += 1.0f;
            terms[loser * PONG_NUM_TERMS + PONG_TERM_POINT_LOST] += 1.0f;
            won = s->score[scorer] >= config->points_to_win;
        } else {
            s->stats[PONG_STAT_UNTOUCHED]++;
        }
    } else if (s->rally_tick >= config->rally_limit) {
        is_over = 1;
        s->stats[PONG_STAT_LIMITED]++;
    }
    if (s->rally_tick > s->stats[PONG_STAT_LONGEST_RALLY])
        s->stats[PONG_STAT_LONGEST_RALLY] = s->rally_tick;
    s->stats[PONG_STAT_RALLIES] += is_over;
    if (won) return BATCH_TERMINATED;
    if (s->tick >= config->max_ticks) return BATCH_TRUNCATED;
    if (is_over) serve(config, s);
    return BATCH_RUNNING;
}

static int32_t tick(const void *rules, void *state, const int32_t *actions, float *terms) {
    const pong_config *config = rules;
    pong_state *s = state;
    s->tick++;
    s->rally_tick++;
    terms[PONG_TERM_RALLY_TICK] = 1.0f;
    terms[PONG_NUM_TERMS + PONG_TERM_RALLY_TICK] = 1.0f;
    move_paddles(config, s, actions);
    fly(config, s, terms);
    for (int32_t k = 1; k < config->frames; k++) s->past[k - 1] = s->past[k];
    s->past[config->frames - 1] = s->now;
    return judge(config, s, terms);
}

/* ---- what seats see ---- */

static void see_coordinates(const pong_config *config, const pong_state *s, int32_t seat,
                            float *out) {
    /* Each over its largest value; the seat sees itself on the left. */
    float flip = -side_of[seat];
    float most = config->ball_speed * config->max_gain;
    float per_x = flip / HALF_WIDTH, per_y = 1.0f / WALL;
    float per_vx = flip / most, per_vy = 1.0f / most;
    float per_own = 1.0f / reach(config, seat);
    float per_other = 1.0f / reach(config, 1 - seat);
    if (!config->sees_velocity[seat]) per_vx = per_vy = 0.0f;
    if (!config->sees_opponent[seat]) per_other = 0.0f;
    for (int32_t k = 0; k < config->frames; k++, out += PONG_NUM_COORDINATES) {
        const moment *m = &s->past[k];
        out[0] = clamp(m->x * per_x, -1.0f, 1.0f);
        out[1] = clamp(m->y * per_y, -1.0f, 1.0f);
        out[2] = clamp(m->paddle_y[seat] * per_own, -1.0f, 1.0f);
        out[3] = clamp(m->paddle_y[1 - seat] * per_other, -1.0f, 1.0f);
        out[4] = clamp(m->vx * per_vx, -1.0f, 1.0f);
        out[5] = clamp(m->vy * per_vy, -1.0f, 1.0f);
    }
}

#define PER_COLUMN (2.0f * HALF_WIDTH / PONG_NUM_PIXELS) /* units a column of a picture */
#define PER_ROW (2.0f * HALF_HEIGHT / PONG_NUM_PIXELS)

/* Pixels from..to-1 that a span, in pixels from the edge, touches. */
typedef struct touched {
    int32_t from, to;
} touched;

static touched pixels_in(float from, float to) {
    touched found = {(int32_t)clamp(from, 0.0f, PONG_NUM_PIXELS),
                     (int32_t)clamp(to, 0.0f, PONG_NUM_PIXELS)};
    found.to += (float)found.to < to && found.to < PONG_NUM_PIXELS;
    return found;
}

/* The share of a pixel that a span covers. */
static float covered(float from, float to, int32_t pixel) {
    float begin = (float)pixel < from ? from : (float)pixel;
    float end = (float)(pixel + 1) > to ? to : (float)(pixel + 1);
    return end > begin ? end - begin : 0.0f;
}

/* Things may overlap; brighter than white there is nothing. */
static void brighten(uint8_t *pixel, float share) {
    int32_t value = *pixel + (int32_t)(share * 255.0f + 0.5f);
    *pixel = (uint8_t)(value > 255 ? 255 : value);
}

static void draw_paddle(uint8_t *picture, float x, float y, float length) {
    float left = (x - 0.5f * (BACK - FACE) + HALF_WIDTH) / PER_COLUMN;
    float right = (x + 0.5f * (BACK - FACE) + HALF_WIDTH) / PER_COLUMN;
    float top = (HALF_HEIGHT - (y + 0.5f * length)) / PER_ROW;
    float bottom = (HALF_HEIGHT - (y - 0.5f * length)) / PER_ROW;
    touched rows = pixels_in(top, bottom), columns = pixels_in(left, right);
    for (int32_t j = columns.from; j < columns.to; j++) {
        float share = covered(left, right, j);
        for (int32_t i = rows.from; i < rows.to; i++)
            brighten(picture + i * PONG_NUM_PIXELS + j, share * covered(top, bottom, i));
    }
}

/* The disc as bands of equal height, each as wide as the disc is in its middle. */
static void draw_ball(uint8_t *picture, float x, float y) {
    enum { BANDS = 6 }; /* in a row of pixels */
    touched rows =
        pixels_in((HALF_HEIGHT - (y + RADIUS)) / PER_ROW, (HALF_HEIGHT - (y - RADIUS)) / PER_ROW);
    touched columns =
        pixels_in((x - RADIUS + HALF_WIDTH) / PER_COLUMN, (x + RADIUS + HALF_WIDTH) / PER_COLUMN);
    for (int32_t i = rows.from; i < rows.to; i++) {
        float left[BANDS], right[BANDS];
        for (int32_t k = 0; k < BANDS; k++) {
            float band = ((float)i + ((float)k + 0.5f) * (1.0f / BANDS)) * PER_ROW;
            float off = HALF_HEIGHT - band - y, inside = RADIUS * RADIUS - off * off;
            float half = sqrtf(inside > 0.0f ? inside : 0.0f);
            left[k] = (x - half + HALF_WIDTH) / PER_COLUMN;
            right[k] = (x + half + HALF_WIDTH) / PER_COLUMN;
        }
        for (int32_t j = columns.from; j < columns.to; j++) {
            float share = 0.0f;
            for (int32_t k = 0; k < BANDS; k++) share += covered(left[k], right[k], j);
            brighten(picture + i * PONG_NUM_PIXELS + j, share * (1.0f / BANDS));
        }
    }
}

static void see_pixels(const pong_config *config, const pong_state *s, int32_t seat, uint8_t *out) {
    enum { BYTES = PONG_NUM_PIXELS * PONG_NUM_PIXELS };
    const float middle = 0.5f * (FACE + BACK);
    float flip = -side_of[seat];
    memset(out, 0, (size_t)(BYTES * config->frames));
    for (int32_t k = 0; k < config->frames; k++, out += BYTES) {
        const moment *m = &s->past[k];
        draw_paddle(out, -middle, m->paddle_y[seat], config->paddle_length[seat]);
        if (config->sees_opponent[seat])
            draw_paddle(out, middle, m->paddle_y[1 - seat], config->paddle_length[1 - seat]);
        draw_ball(out, flip * m->x, m->y);
    }
}

static void observe(const void *rules, const void *state, uint8_t *const *parts, uint8_t *alive) {
    const pong_config *config = rules;
    for (int32_t seat = 0; seat < 2; seat++) {
        alive[seat] = 1;
        if (config->pixels)
            see_pixels(config, state, seat,
                       parts[0] + seat * config->frames * PONG_NUM_PIXELS * PONG_NUM_PIXELS);
        else
            see_coordinates(config, state, seat,
                            (float *)(void *)parts[0] +
                                seat * config->frames * PONG_NUM_COORDINATES);
    }
}

/* ---- scripted opponents ---- */

static int32_t go_to(float target, float at, float speed) {
    float way = target - at;
    return way > 0.5f * speed ? PONG_UP : way < -0.5f * speed ? PONG_DOWN : PONG_STAY;
}

/* A number for this seat and moment that no other seat or moment shares. */
static uint64_t draw_for(const pong_state *s, int32_t seat, int32_t moment_of_rally) {
    return random_hash(random_hash(s->stream, (uint64_t)seat), (uint64_t)moment_of_rally);
}

/* Height at which the ball will touch the face, walls included. */
static float arrival(const moment *m, int32_t seat) {
    float side = side_of[seat], way = FACE - RADIUS - side * m->x;
    float y = m->y + m->vy * (way / (side * m->vx));
    /* Unfolded by the walls; a ball that is as good as vertical never comes. */
    for (int32_t k = 0; k < 64 && (y > WALL || y < -WALL); k++)
        y = (y > WALL ? 2.0f * WALL : -2.0f * WALL) - y;
    return clamp(y, -WALL, WALL);
}

static int32_t script(const pong_config *config, const pong_state *s, int32_t seat,
                      int32_t opponent) {
    const moment *m = &s->now;
    float at = m->paddle_y[seat], speed = config->paddle_speed[seat];
    switch (opponent) {
    case PONG_RANDOM:
        return (int32_t)(((draw_for(s, seat, s->rally_tick) >> 32) * PONG_NUM_ACTIONS) >> 32);
    case PONG_TRACKER: return go_to(m->y, at, speed);
    case PONG_SLOW_TRACKER: return s->rally_tick % 2 ? PONG_STAY : go_to(m->y, at, speed);
    default: {
        float side = side_of[seat];
        if (!(side * m->vx > 0.0f) || side * m->x > FACE - RADIUS) return PONG_STAY;
        uint64_t stream = draw_for(s, seat, s->rally_hits);
        float half = 0.5f * config->paddle_length[seat] - speed; /* for sure within the paddle */
        float part = (2.0f * random_share(&stream) - 1.0f) * (half > 0.0f ? half : 0.0f);
        return go_to(arrival(m, seat) - part, at, speed);
    }
    }
}

int32_t pong_script(const batch *b, const int32_t *opponents, int32_t *actions) {
    const pong_config *config = batch_rules_of(b);
    for (int32_t i = 0; i < 2 * batch_num_envs(b); i++)
        if (opponents[i] < PONG_NOBODY || opponents[i] >= PONG_NUM_OPPONENTS)
            return BATCH_BAD_ARGUMENT;
    if (!is_pong(b) || !batch_state_of(b, 0)) return BATCH_NOT_READY;
    for (int32_t i = 0; i < 2 * batch_num_envs(b); i++)
        if (opponents[i] != PONG_NOBODY)
            actions[i] = script(config, batch_state_of(b, i / 2), i % 2, opponents[i]);
    return BATCH_OK;
}

/* ---- the game as the batch sees it ---- */

static size_t state_bytes(const void *rules, const char *map, int32_t map_bytes) {
    (void)rules, (void)map, (void)map_bytes;
    return sizeof(pong_state);
}

static int32_t check_map(const void *rules, const char *map, int32_t map_bytes, char *message) {
    (void)rules, (void)map, (void)map_bytes;
    snprintf(message, BATCH_MESSAGE_BYTES, "Pong has no maps; name a level seed.");
    return BATCH_BAD_MAP;
}

static int32_t start(const void *rules, const batch_start *start, void *state) {
    pong_state *s = state;
    s->stream = random_hash(random_hash(0, 0x706F6E67u), start->seed);
    s->is_mirrored = start->difficulty == PONG_MIRRORED;
    serve(rules, s);
    return BATCH_OK;
}

static void finish(const void *rules, const void *state, int32_t *outcome, int32_t *cause,
                   int64_t *stats) {
    const pong_config *config = rules;
    const pong_state *s = state;
    *outcome = s->score[0] == s->score[1]  ? PONG_DRAW
               : s->score[0] > s->score[1] ? PONG_LEFT_WINS
                                           : PONG_RIGHT_WINS;
    *cause = s->score[0] >= config->points_to_win || s->score[1] >= config->points_to_win
                 ? PONG_CAUSE_POINTS
                 : PONG_CAUSE_TIME;
    for (int32_t i = 0; i < PONG_NUM_STATS; i++) stats[i] = s->stats[i];
}

static size_t used_bytes(const void *rules, const void *state) {
    (void)rules, (void)state;
    return sizeof(pong_state);
}

/* Not true of what is not a number. */
static int32_t lies_within(float value, float most) { return value >= -most && value <= most; }

static int32_t check_moment(const pong_config *config, const moment *m) {
    return lies_within(m->x, HALF_WIDTH + FASTEST) && lies_within(m->y, WALL) &&
           lies_within(m->vx, FASTEST) && lies_within(m->vy, FASTEST) &&
           lies_within(m->paddle_y[0], reach(config, 0)) &&
           lies_within(m->paddle_y[1], reach(config, 1));
}

static int32_t check_state(const void *rules, const void *state, size_t num_bytes) {
    const pong_config *config = rules;
    const pong_state *s = state;
    if (num_bytes != sizeof *s) return 0;
    if (!check_moment(config, &s->now) || !lies_within(s->now.x, HALF_WIDTH)) return 0;
    for (int32_t k = 0; k < PONG_MAX_FRAMES; k++)
        if (!check_moment(config, &s->past[k])) return 0;
    for (int32_t seat = 0; seat < 2; seat++)
        if (s->score[seat] < 0 || s->score[seat] >= config->points_to_win ||
            (s->touched[seat] & ~1))
            return 0;
    for (int32_t i = 0; i < PONG_NUM_STATS; i++)
        if (s->stats[i] < 0) return 0;
    return (s->is_mirrored & ~1) == 0 && s->tick >= 0 && s->tick < config->max_ticks &&
           s->rally_tick >= 0 && s->rally_tick < config->rally_limit && s->rally_tick <= s->tick &&
           s->rally_hits >= 0;
}

/* Bits of a number, the two zeros alike. */
static uint64_t bits_of(float value) {
    uint32_t bits;
    value += 0.0f;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint64_t state_hash(const void *rules, const void *state) {
    const pong_config *config = rules;
    const pong_state *s = state;
    const moment *m = &s->now;
    uint64_t hash = random_hash_bytes(s->stream, config, sizeof *config);
    const float numbers[] = {m->x, m->y, m->vx, m->vy, m->paddle_y[0], m->paddle_y[1]};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        hash = random_hash(hash, bits_of(numbers[i]));
    const int32_t words[] = {s->is_mirrored, s->tick,     s->rally_tick, s->rally_hits,
                             s->score[0],    s->score[1], s->touched[0], s->touched[1]};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        hash = random_hash(hash, (uint64_t)words[i]);
    return hash;
}

/* The court, 80 x 20 characters, under the score. */
static int64_t text(const void *rules, const void *state, char *out, int64_t num_bytes) {
    enum { COLUMNS = 80, ROWS = 20, HEAD = 16, LINE = COLUMNS + 1 };
    const pong_config *config = rules;
    const pong_state *s = state;
    int64_t needed = HEAD + ROWS * LINE + 1;
    if (num_bytes < needed) return needed;
    char head[64];
    snprintf(head, sizeof head, "%7d : %-6d", s->score[0] % 1000000, s->score[1] % 1000000);
    memcpy(out, head, HEAD - 1);
    out[HEAD - 1] = '\n';
    for (int32_t i = 0; i < ROWS; i++) {
        char *line = out + HEAD + i * LINE;
        memset(line, '.', COLUMNS);
        line[COLUMNS] = '\n';
        float y = HALF_HEIGHT - ((float)i + 0.5f) * (2.0f * HALF_HEIGHT / ROWS);
        for (int32_t seat = 0; seat < 2; seat++) {
            float off = y - s->now.paddle_y[seat], half = 0.5f * config->paddle_length[seat];
            if (off <= half && off >= -half) line[seat ? COLUMNS - 3 : 2] = '|';
        }
    }
    int32_t column =
        (int32_t)clamp((s->now.x + HALF_WIDTH) / (2.0f * HALF_WIDTH / COLUMNS), 0.0f, COLUMNS - 1);
    int32_t row =
        (int32_t)clamp((HALF_HEIGHT - s->now.y) / (2.0f * HALF_HEIGHT / ROWS), 0.0f, ROWS - 1);
    out[HEAD + row * LINE + column] = 'o';
    out[needed - 1] = '\0';
    return needed;
}

static const batch_game the_game = {
    .name = GAME_NAME,
    .version = SIMULATOR_VERSION,
    .num_agents = PONG_NUM_SEATS,
    .num_actions = PONG_NUM_ACTIONS,
    .num_difficulties = PONG_NUM_DIFFICULTIES,
    .default_difficulty = PONG_PLAIN,
    .num_terms = PONG_NUM_TERMS,
    .num_stats = PONG_NUM_STATS,
    .term_names = term_names,
    .stat_names = stat_names,
    .outcome_names = outcome_names,
    .cause_names = cause_names,
    .state_bytes = state_bytes,
    .check_map = check_map,
    .start = start,
    .tick = tick,
    .observe = observe,
    .finish = finish,
    .used_bytes = used_bytes,
    .check_state = check_state,
    .state_hash = state_hash,
    .text = text,
};

/* ---- configs and batches ---- */

int32_t pong_num_presets(void) { return NUM_PRESETS; }

const char *pong_preset_name(int32_t preset) {
    return preset >= 0 && preset < NUM_PRESETS ? preset_names[preset] : NULL;
}

pong_config pong_preset(int32_t preset) {
    pong_config config = {
        .paddle_speed = {6.0f, 6.0f},
        .paddle_length = {70.0f, 70.0f},
        .ball_speed = 10.0f,
        .speed_gain = 0.05f,
        .max_gain = 2.5f,
        .aim = 1,
        .aim_slope = 1.7f,
        .points_to_win = 21,
        .rally_limit = 2000,
        .max_ticks = 20000,
        .serve_to = -1,
        .frames = 1,
        .pixels = 0,
        .sees_velocity = {1, 1},
        .sees_opponent = {1, 1},
    };
    if (preset == 1) {
        config.paddle_speed[0] = config.paddle_speed[1] = 8.0f;
        config.speed_gain = 0.0f;
        config.max_gain = 1.0f;
        config.aim = 0;
    }
    return config;
}

int32_t pong_check_config(const pong_config *config, char *message) {
    enum { MANY = 1000000 };
    const batch_bound bounds[] = {
        {"paddle_speed of the left seat", config->paddle_speed[0], 0.0, FASTEST},
        {"paddle_speed of the right seat", config->paddle_speed[1], 0.0, FASTEST},
        {"paddle_length of the left seat", config->paddle_length[0], 1.0, 2 * HALF_HEIGHT - 1},
        {"paddle_length of the right seat", config->paddle_length[1], 1.0, 2 * HALF_HEIGHT - 1},
        {"ball_speed", config->ball_speed, 0.1, FASTEST},
        {"speed_gain", config->speed_gain, 0.0, 10.0},
        {"max_gain", config->max_gain, 1.0, 100.0},
        {"ball_speed * max_gain", (double)config->ball_speed * config->max_gain, 0.1, FASTEST},
        {"aim", config->aim, 0, 1},
        {"aim_slope", config->aim_slope, 0.0, 10.0},
        {"points_to_win", config->points_to_win, 1, MANY},
        {"rally_limit", config->rally_limit, 1, MANY},
        {"max_ticks", config->max_ticks, 1, MANY},
        {"serve_to", config->serve_to, -1, 1},
        {"frames", config->frames, 1, PONG_MAX_FRAMES},
        {"pixels", config->pixels, 0, 1},
        {"sees_velocity of the left seat", config->sees_velocity[0], 0, 1},
        {"sees_velocity of the right seat", config->sees_velocity[1], 0, 1},
        {"sees_opponent of the left seat", config->sees_opponent[0], 0, 1},
        {"sees_opponent of the right seat", config->sees_opponent[1], 0, 1},
    };
    return batch_check_bounds(bounds, sizeof bounds / sizeof *bounds, message);
}

batch *pong_create(const pong_config *config, int32_t num_envs, char *message) {
    const batch_bound bounds[] = {{"num_envs", num_envs, 1, 1 << 20}};
    if (batch_check_bounds(bounds, 1, message) != BATCH_OK) return NULL;
    if (pong_check_config(config, message) != BATCH_OK) return NULL;
    batch_game game = the_game;
    game.observation_bytes[0] =
        config->frames * (config->pixels ? PONG_NUM_PIXELS * PONG_NUM_PIXELS
                                         : PONG_NUM_COORDINATES * (int64_t)sizeof(float));
    batch *b = batch_create(&game, config, sizeof *config, num_envs);
    if (!b) snprintf(message, BATCH_MESSAGE_BYTES, "memory is short for %d games.", num_envs);
    return b;
}

int32_t pong_show(const batch *b, int32_t game, int32_t ended, pong_frame *frame) {
    const pong_state *s = ended ? batch_ended_state_of(b, game) : batch_state_of(b, game);
    if (!s || !is_pong(b)) return BATCH_BAD_ARGUMENT;
    *frame = (pong_frame){
        .x = s->now.x,
        .y = s->now.y,
        .vx = s->now.vx,
        .vy = s->now.vy,
        .paddle_y = {s->now.paddle_y[0], s->now.paddle_y[1]},
        .score = {s->score[0], s->score[1]},
        .touched = {s->touched[0], s->touched[1]},
        .rally_tick = s->rally_tick,
        .tick = s->tick,
    };
    return BATCH_OK;
}

int32_t pong_place(batch *b, int32_t game, const pong_frame *frame) {
    const pong_state *before = batch_state_of(b, game);
    if (!before || !is_pong(b)) return BATCH_BAD_ARGUMENT;
    const pong_config *config = batch_rules_of(b);
    pong_state after = *before;
    after.now = (moment){
        frame->x, frame->y, frame->vx, frame->vy, {frame->paddle_y[0], frame->paddle_y[1]}};
    for (int32_t seat = 0; seat < 2; seat++) {
        after.score[seat] = frame->score[seat];
        after.touched[seat] = frame->touched[seat];
    }
    after.rally_tick = frame->rally_tick;
    after.rally_hits = 0;
    after.tick = frame->tick;
    if (!check_moment(config, &after.now)) return BATCH_BAD_ARGUMENT;
    remember_only_now(config, &after);
    if (!check_state(config, &after, sizeof after)) return BATCH_BAD_ARGUMENT;
    return batch_put_state(b, game, &after, sizeof after);
}
