/* pong.h - Pong: two paddles, one ball, in coordinates or pixels.
 *
 * The rules are told in docs/12-pong.md. Lengths are units of a court of 800 x 400 whose middle is
 * the origin, x to the right, y up; so mirroring is negation, and exact. All arithmetic is float32
 * without contraction and sqrt the only function: one (config, level, actions) gives one history
 * on every compiler and machine. Seat 0 is the left one, seat 1 the right one.
 */
#ifndef CLOWDER_PONG_H
#define CLOWDER_PONG_H

#include <stdint.h>

#include "batch.h"

enum {
    PONG_NUM_SEATS = 2,
    PONG_NUM_COORDINATES = 6,
    PONG_NUM_PIXELS = 84, /* rows, and columns, of a picture */
    PONG_MAX_FRAMES = 16
};

typedef enum pong_action {
    PONG_STAY = 0,
    PONG_UP = 1,
    PONG_DOWN = 2,
    PONG_NUM_ACTIONS = 3
} pong_action;

/* What a reward can be paid for: counts per seat and tick. */
typedef enum pong_term {
    PONG_TERM_POINT_WON = 0,
    PONG_TERM_POINT_LOST,
    PONG_TERM_HIT,
    PONG_TERM_RALLY_TICK,
    PONG_NUM_TERMS
} pong_term;

/* Statistics of an episode record. */
typedef enum pong_stat {
    PONG_STAT_SCORE_LEFT = 0, /* points */
    PONG_STAT_SCORE_RIGHT,
    PONG_STAT_HITS_LEFT, /* contacts with the paddle */
    PONG_STAT_HITS_RIGHT,
    PONG_STAT_MISSES_LEFT, /* balls that passed it, whether or not they counted */
    PONG_STAT_MISSES_RIGHT,
    PONG_STAT_STILL_LEFT, /* ticks in which the paddle didn't move */
    PONG_STAT_STILL_RIGHT,
    PONG_STAT_RALLIES,       /* that ended, replayed ones among them */
    PONG_STAT_UNTOUCHED,     /* replayed: the scorer had not touched the ball */
    PONG_STAT_LIMITED,       /* replayed: too long */
    PONG_STAT_LONGEST_RALLY, /* ticks */
    PONG_NUM_STATS
} pong_stat;

typedef enum pong_outcome { PONG_LEFT_WINS = 0, PONG_RIGHT_WINS = 1, PONG_DRAW = 2 } pong_outcome;
typedef enum pong_cause { PONG_CAUSE_POINTS = 0, PONG_CAUSE_TIME = 1 } pong_cause;

/* How a level is served. Mirrored: the same seed gives the mirrored game. */
enum { PONG_PLAIN = 0, PONG_MIRRORED = 1, PONG_NUM_DIFFICULTIES = 2 };

/* Who moves a paddle, for pong_script. */
typedef enum pong_opponent {
    PONG_NOBODY = 0,   /* the action stands as it was given */
    PONG_RANDOM,       /* any action, every tick */
    PONG_TRACKER,      /* follows the ball at full speed */
    PONG_SLOW_TRACKER, /* follows it every other tick */
    PONG_PREDICTOR,    /* goes where the ball will arrive, returns it with a random part */
    PONG_NUM_OPPONENTS
} pong_opponent;

/* A whole config, 4-byte fields without padding. */
typedef struct pong_config {
    float paddle_speed[2];  /* per seat, units a tick */
    float paddle_length[2]; /* per seat, units from end to end */
    float ball_speed;       /* of a serve, units a tick */
    float speed_gain;       /* share of its speed that the ball gains with a hit */
    float max_gain;         /* largest speed, in speeds of a serve */
    int32_t aim;            /* 1: the direction after a hit follows the contact point; 0: mirrors */
    float aim_slope;        /* with aim: vy over |vx| after a hit at an end */
    int32_t points_to_win;
    int32_t rally_limit;      /* ticks after which a rally is replayed */
    int32_t max_ticks;        /* ticks after which the game is cut off */
    int32_t serve_to;         /* seat that is served to; -1: either */
    int32_t frames;           /* moments in an observation, 1..PONG_MAX_FRAMES */
    int32_t pixels;           /* 1: pictures; 0: coordinates */
    int32_t sees_velocity[2]; /* per seat, 0: coordinates have zeros for the ball's velocity */
    int32_t sees_opponent[2]; /* per seat, 0: the other paddle is not shown */
} pong_config;

/* The named rules: 0 duel, 1 classic. */
int32_t pong_num_presets(void);
const char *pong_preset_name(int32_t preset);     /* NULL past the last */
pong_config pong_preset(int32_t preset);          /* duel past the last */
const char *pong_opponent_name(int32_t opponent); /* NULL past the last */

/* BATCH_OK, or BATCH_BAD_CONFIG with a sentence in message (BATCH_MESSAGE_BYTES). */
int32_t pong_check_config(const pong_config *config, char *message);

/* Makes num_envs games, or returns NULL with a sentence in message (BATCH_MESSAGE_BYTES). Part 0 of
 * an observation: float32 (frames, 6) coordinates, each over its largest value: ball x, y, own
 * paddle, other paddle, ball's velocity x, y; or uint8 (frames, 84, 84) pictures, the top row
 * first. Oldest moment first; every seat sees itself on the left. */
batch *pong_create(const pong_config *config, int32_t num_envs, char *message);

/* Names of the terms, whether or not there is a batch; NULL past the last. */
const char *pong_term_name(int32_t term);

/* A position: what moves, the score and the clocks. */
typedef struct pong_frame {
    float x, y;         /* the ball's middle, units */
    float vx, vy;       /* its velocity, units a tick */
    float paddle_y[2];  /* per seat, the paddle's middle */
    int32_t score[2];   /* per seat, points */
    int32_t touched[2]; /* per seat, 1: its paddle touched the ball in this rally */
    int32_t rally_tick; /* ticks since the serve */
    int32_t tick;       /* ticks played */
} pong_frame;

/* Shows a game: with ended != 0 the last state of one that ended in the last step and was kept
 * (batch_keep_ended). BATCH_BAD_ARGUMENT: there is no such state. */
int32_t pong_show(const batch *b, int32_t game, int32_t ended, pong_frame *frame);

/* Puts a position in place of game's, as if it had stood so for a while. The next serves stay what
 * they were. BATCH_BAD_ARGUMENT: no such game, or a position that can't be. */
int32_t pong_place(batch *b, int32_t game, const pong_frame *frame);

/* What scripted opponents do next: writes the actions of the seats whose opponent is not
 * PONG_NOBODY. opponents, actions: (num_envs, 2). Decides by the games' states alone. */
int32_t pong_script(const batch *b, const int32_t *opponents, int32_t *actions);

#endif
