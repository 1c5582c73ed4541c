/* grid_conv.c - sums of table rows: loads and adds, as wide as the processor has them. */
#include "grid_conv.h"

#include <string.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))
#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_WIDE_PATHS 1
#endif

enum { MAX_VECTORS = 8 }; /* sums that are kept in registers at once */

/* What the loops need to know, in elements. */
typedef struct layout {
    int64_t row_step, sample_step; /* cells of `rows` from one row, one sample to the next */
    int64_t out_rows, out_columns; /* R, Q */
    int64_t table_step;            /* floats of the table from one number to the next */
} layout;

int32_t grid_conv_lanes(void) {
#ifdef HAS_WIDE_PATHS
    if (__builtin_cpu_supports("avx512f")) return 16;
    if (__builtin_cpu_supports("avx2")) return 8;
#endif
    return 4;
}

/* Windows along one axis; 0 if there is no sense in it. */
static int32_t count_windows(int32_t cells, int32_t kernel, int32_t padding, int32_t stride) {
    if (cells < 1 || kernel < 1 || padding < 0 || stride < 1) return 0;
    if (cells > GRID_CONV_MAX_SIDE || padding > GRID_CONV_MAX_SIDE) return 0;
    int32_t beyond = cells + 2 * padding - kernel;
    return beyond < 0 ? 0 : beyond / stride + 1;
}

int32_t grid_conv_out_rows(const grid_conv_shape *s) {
    return count_windows(s->height, s->kernel_rows, s->pad_rows, s->stride);
}

int32_t grid_conv_out_columns(const grid_conv_shape *s) {
    return count_windows(s->width, s->kernel_columns, s->pad_columns, s->stride);
}

static int32_t makes_sense(const grid_conv_shape *s, int64_t num_samples) {
    return num_samples >= 0 && s->num_channels > 0 && s->num_outputs > 0 &&
           s->num_outputs % GRID_CONV_BLOCK == 0 && grid_conv_out_rows(s) > 0 &&
           grid_conv_out_columns(s) > 0;
}

static layout lay_out(const grid_conv_shape *s) {
    layout l;
    l.row_step = (int64_t)s->width + 2 * (int64_t)s->pad_columns;
    l.sample_step = l.row_step * ((int64_t)s->height + 2 * (int64_t)s->pad_rows);
    l.out_rows = grid_conv_out_rows(s);
    l.out_columns = grid_conv_out_columns(s);
    l.table_step = (int64_t)s->kernel_rows * s->kernel_columns * s->num_outputs;
    return l;
}

/* ---- sums of table rows ---- */

#define LANES 4
#define TARGET
#define AT_WIDTH(name) name##_4
#include "grid_conv_loops.h"

#ifdef HAS_WIDE_PATHS
#define LANES 8
#define TARGET __attribute__((target("avx2")))
#define AT_WIDTH(name) name##_8
#include "grid_conv_loops.h"

#define LANES 16
#define TARGET __attribute__((target("avx512f")))
#define AT_WIDTH(name) name##_16
#include "grid_conv_loops.h"
#endif

/* The loops of one width. */
typedef struct loops {
    void (*forward)(const grid_conv_shape *, const uint16_t *, int64_t, const float *,
                    const float *, float *);
    void (*backward)(const grid_conv_shape *, const uint16_t *, int64_t, const float *,
                     const float *, float *, float *);
} loops;

static loops choose_loops(const grid_conv_shape *s) {
    int32_t lanes = grid_conv_lanes();
    if (s->lanes > 0 && s->lanes < lanes) lanes = s->lanes;
#ifdef HAS_WIDE_PATHS
    if (lanes >= 16) return (loops){forward_16, backward_16};
    if (lanes >= 8) return (loops){forward_8, backward_8};
#endif
    return (loops){forward_4, backward_4};
}

int32_t grid_conv_forward(const grid_conv_shape *s, const uint16_t *rows, int64_t num_samples,
                          const float *table, const float *bias, float *out) {
    if (!makes_sense(s, num_samples)) return GRID_CONV_BAD_ARGUMENT;
    choose_loops(s).forward(s, rows, num_samples, table, bias, out);
    return GRID_CONV_OK;
}

int32_t grid_conv_backward(const grid_conv_shape *s, const uint16_t *rows, int64_t num_samples,
                           const float *out, const float *grad_out, float *grad_table,
                           float *grad_bias) {
    if (!makes_sense(s, num_samples)) return GRID_CONV_BAD_ARGUMENT;
    choose_loops(s).backward(s, rows, num_samples, out, grad_out, grad_table, grad_bias);
    return GRID_CONV_OK;
}

/* ---- numbers of combinations ---- */

/* A sample's combinations: bytes as digits of mixed base. Returns whether one is no value of its
 * channel. Loops over many cells, without branches, are what compilers make wide. */
static int32_t combine_bytes(const grid_conv_shape *s, const int32_t *num_values,
                             const uint8_t *bytes, uint16_t *combined) {
    int32_t num_cells = s->height * s->width;
    uint8_t bad = 0;
    memset(combined, 0, (size_t)num_cells * sizeof *combined);
    for (int32_t c = 0; c < s->num_channels; c++, bytes += num_cells) {
        uint16_t base = (uint16_t)num_values[c];
        uint8_t largest = (uint8_t)(num_values[c] - 1);
        for (int32_t i = 0; i < num_cells; i++) {
            combined[i] = (uint16_t)(combined[i] * base + bytes[i]);
            bad |= bytes[i] > largest;
        }
    }
    return bad;
}

int32_t grid_conv_rows(const grid_conv_shape *s, const int32_t *num_values, const uint8_t *grid,
                       int64_t num_samples, uint16_t *rows, int32_t *used, int32_t *num_used,
                       uint16_t *scratch) {
    if (!makes_sense(s, num_samples)) return GRID_CONV_BAD_ARGUMENT;
    int32_t num_combinations = 1;
    for (int32_t c = 0; c < s->num_channels; c++) {
        if (num_values[c] < 1 || num_values[c] > 256) return GRID_CONV_BAD_ARGUMENT;
        num_combinations *= num_values[c];
        if (num_combinations > GRID_CONV_MAX_ROWS) return GRID_CONV_BAD_ARGUMENT;
    }
    layout l = lay_out(s);
    uint16_t *combined = scratch + GRID_CONV_MAX_ROWS;
    /* One more than the number of a combination, 0: not met yet. */
    memset(scratch, 0, GRID_CONV_MAX_ROWS * sizeof *scratch);
    scratch[0] = 1;
    used[0] = 0;
    uint16_t count = 1;
    for (int64_t n = 0; n < num_samples; n++) {
        if (combine_bytes(s, num_values, grid, combined)) return GRID_CONV_BAD_BYTE;
        memset(rows, 0, (size_t)l.sample_step * sizeof *rows);
        uint16_t *row = rows + s->pad_rows * l.row_step + s->pad_columns;
        const uint16_t *cell = combined;
        for (int32_t y = 0; y < s->height; y++, row += l.row_step)
            for (int32_t x = 0; x < s->width; x++, cell++) {
                if (!scratch[*cell]) {
                    used[count] = *cell;
                    scratch[*cell] = ++count;
                }
                row[x] = (uint16_t)(scratch[*cell] - 1);
            }
        rows += l.sample_step;
        grid += (int64_t)s->num_channels * s->height * s->width;
    }
    *num_used = count;
    return GRID_CONV_OK;
}
