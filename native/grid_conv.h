/* grid_conv.h - the first convolution of a grid of named bytes, without making its planes.
 *
 * A cell's bytes are flags and categories. The combination of them, a row of a table, says what the
 * cell adds to every output that sees it, so a convolution is a sum of table rows:
 *
 *     out[p] = relu(bias + sum over kernel offsets k of table[row of the cell at p + k][k])
 *
 * Guarantees:
 * - The caller owns every buffer, C-contiguous; a call allocates nothing, does no I/O and touches
 *   nothing global, so any number of threads may call at once.
 * - An output is summed from the bias on in the order of the kernel's offsets, a gradient in the
 *   order of samples, positions and offsets. That holds at every `lanes`: results are the same bit
 *   for bit.
 *
 * Python's CFFI declarations are made from this file: lines that begin with '#' are left out.
 */
#ifndef CLOWDER_GRID_CONV_H
#define CLOWDER_GRID_CONV_H

#include <stdint.h>

enum {
    GRID_CONV_BLOCK = 16,      /* the number of outputs is a multiple of it */
    GRID_CONV_MAX_ROWS = 4096, /* combinations of a cell's bytes */
    GRID_CONV_MAX_SIDE = 4096  /* cells of a grid's height, width and padding each */
};

/* What a call returns. */
enum {
    GRID_CONV_OK = 0,
    GRID_CONV_BAD_ARGUMENT = -1, /* a shape that makes no sense, see grid_conv_shape */
    GRID_CONV_BAD_BYTE = -2      /* a byte is no value of its channel */
};

/* Sizes of a convolution. R = (height + 2 pad_rows - kernel_rows) / stride + 1 rows of outputs,
 * Q columns likewise, P = R * Q positions, K = kernel_rows * kernel_columns offsets. */
typedef struct grid_conv_shape {
    int32_t num_channels;   /* C, bytes a cell; at least 1 */
    int32_t height;         /* cells */
    int32_t width;          /* cells */
    int32_t kernel_rows;    /* cells */
    int32_t kernel_columns; /* cells */
    int32_t stride;         /* cells, along both axes */
    int32_t pad_rows;       /* empty cells added above and below */
    int32_t pad_columns;    /* empty cells added left and right */
    int32_t num_outputs;    /* O, features a position; a multiple of GRID_CONV_BLOCK */
    int32_t lanes;          /* floats an instruction may hold: 4, 8, 16; 0: the most there is */
} grid_conv_shape;

/* Floats that this processor's widest instructions hold: 4, 8 or 16. More are never used. */
int32_t grid_conv_lanes(void);

/* Rows of outputs R and columns Q; 0 if the shape makes no sense. */
int32_t grid_conv_out_rows(const grid_conv_shape *shape);
int32_t grid_conv_out_columns(const grid_conv_shape *shape);

/* Numbers the combinations of bytes that occur, in the order in which they are first met; number 0
 * is the empty cell, whether met or not. Refuses a byte that is no value of its channel.
 * num_values: (C,) values a channel's byte can take, their product at most GRID_CONV_MAX_ROWS
 * grid: (num_samples, C, height, width)
 * rows: (num_samples, height + 2 pad_rows, width + 2 pad_columns), written: every cell's number
 * used: (GRID_CONV_MAX_ROWS,), written: each number's bytes as digits of mixed base num_values
 * num_used: (1,), written: U, how many numbers there are
 * scratch: (GRID_CONV_MAX_ROWS + height * width,) */
int32_t grid_conv_rows(const grid_conv_shape *shape, const int32_t *num_values, const uint8_t *grid,
                       int64_t num_samples, uint16_t *rows, int32_t *used, int32_t *num_used,
                       uint16_t *scratch);

/* The convolution.
 * rows: (num_samples, height + 2 pad_rows, width + 2 pad_columns), below U, from grid_conv_rows
 * table: (U, K, O) what a cell adds; [0] is added for padding too
 * bias: (O,)
 * out: (num_samples, R, Q, O), written */
int32_t grid_conv_forward(const grid_conv_shape *shape, const uint16_t *rows, int64_t num_samples,
                          const float *table, const float *bias, float *out);

/* Adds up the gradients of table and bias.
 * rows: as before
 * out: (num_samples, R, Q, O) what grid_conv_forward gave
 * grad_out: (num_samples, R, Q, O), counts where out is above 0
 * grad_table: (U, K, O), added to
 * grad_bias: (O,), added to */
int32_t grid_conv_backward(const grid_conv_shape *shape, const uint16_t *rows, int64_t num_samples,
                           const float *out, const float *grad_out, float *grad_table,
                           float *grad_bias);

#endif
