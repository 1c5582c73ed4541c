/* grid_conv_loops.h - the loops of grid_conv.c, compiled once for each width of instructions. The
 * file that includes this defines LANES, floats an instruction holds; TARGET, the attribute that
 * lets a function use them; and AT_WIDTH(name), the name with the width behind it. */

/* Aligned as floats are, and it may overlay them. */
typedef float AT_WIDTH(lanes)
    __attribute__((vector_size(4 * LANES), aligned(sizeof(float)), may_alias));
typedef int32_t AT_WIDTH(mask)
    __attribute__((vector_size(4 * LANES), aligned(sizeof(float)), may_alias));

/* `num_vectors` vectors of outputs at every position of every sample. That is a constant, so that
 * sums stay in registers. */
TARGET static ALWAYS_INLINE void AT_WIDTH(add_rows)(const grid_conv_shape *s, const layout *l,
                                                    const int32_t num_vectors, const uint16_t *rows,
                                                    int64_t num_samples, const float *table,
                                                    const float *bias, float *out) {
    for (int64_t n = 0; n < num_samples; n++, rows += l->sample_step)
        for (int64_t y = 0; y < l->out_rows; y++)
            for (int64_t x = 0; x < l->out_columns; x++, out += s->num_outputs) {
                const uint16_t *cell = rows + y * s->stride * l->row_step + x * s->stride;
                const float *offset = table;
                AT_WIDTH(lanes) sum[MAX_VECTORS];
                for (int32_t v = 0; v < num_vectors; v++)
                    sum[v] = *(const AT_WIDTH(lanes) *)(bias + v * LANES);
                for (int32_t i = 0; i < s->kernel_rows; i++, cell += l->row_step)
                    for (int32_t j = 0; j < s->kernel_columns; j++, offset += s->num_outputs) {
                        const float *added = offset + cell[j] * l->table_step;
                        for (int32_t v = 0; v < num_vectors; v++)
                            sum[v] += *(const AT_WIDTH(lanes) *)(added + v * LANES);
                    }
                for (int32_t v = 0; v < num_vectors; v++) {
                    /* What is no number stays so, as in torch. */
                    AT_WIDTH(mask) kept = ~(sum[v] < 0.0f) & (AT_WIDTH(mask))sum[v];
                    *(AT_WIDTH(mask) *)(out + v * LANES) = kept;
                }
            }
}

/* The same loops backwards. Empty cells are summed as well, though nobody needs that: leaving them
 * out takes a branch on each cell, which costs 16 outputs more than it saves (0.7 against 0.5
 * microseconds a sample) and 64 outputs less (6 against 8, of 100 in all). */
TARGET static ALWAYS_INLINE void AT_WIDTH(add_gradients)(const grid_conv_shape *s, const layout *l,
                                                         const int32_t num_vectors,
                                                         const uint16_t *rows, int64_t num_samples,
                                                         const float *out, const float *grad_out,
                                                         float *grad_table, float *grad_bias) {
    AT_WIDTH(lanes) bias[MAX_VECTORS];
    for (int32_t v = 0; v < num_vectors; v++)
        bias[v] = *(const AT_WIDTH(lanes) *)(grad_bias + v * LANES);
    for (int64_t n = 0; n < num_samples; n++, rows += l->sample_step)
        for (int64_t y = 0; y < l->out_rows; y++)
            for (int64_t x = 0; x < l->out_columns; x++) {
                const uint16_t *cell = rows + y * s->stride * l->row_step + x * s->stride;
                float *offset = grad_table;
                AT_WIDTH(lanes) grad[MAX_VECTORS];
                for (int32_t v = 0; v < num_vectors; v++) {
                    AT_WIDTH(mask) counts = *(const AT_WIDTH(lanes) *)(out + v * LANES) > 0.0f;
                    counts &= *(const AT_WIDTH(mask) *)(grad_out + v * LANES);
                    grad[v] = (AT_WIDTH(lanes))counts;
                    bias[v] += grad[v];
                }
                for (int32_t i = 0; i < s->kernel_rows; i++, cell += l->row_step)
                    for (int32_t j = 0; j < s->kernel_columns; j++, offset += s->num_outputs) {
                        float *sum = offset + cell[j] * l->table_step;
                        for (int32_t v = 0; v < num_vectors; v++)
                            *(AT_WIDTH(lanes) *)(sum + v * LANES) += grad[v];
                    }
                out += s->num_outputs;
                grad_out += s->num_outputs;
            }
    for (int32_t v = 0; v < num_vectors; v++) *(AT_WIDTH(lanes) *)(grad_bias + v * LANES) = bias[v];
}

/* As many outputs at once as registers hold, then block by block. */
/* clang-format off */
TARGET static void AT_WIDTH(forward)(const grid_conv_shape *s, const uint16_t *rows,
                                     int64_t num_samples, const float *table, const float *bias,
                                     float *out) {
    enum { MANY = LANES < 8 ? 8 : 64 / LANES, FEW = GRID_CONV_BLOCK / LANES };
    layout l = lay_out(s);
    int32_t at = 0;
    for (; at + MANY * LANES <= s->num_outputs; at += MANY * LANES)
        AT_WIDTH(add_rows)(s, &l, MANY, rows, num_samples, table + at, bias + at, out + at);
    for (; at < s->num_outputs; at += FEW * LANES)
        AT_WIDTH(add_rows)(s, &l, FEW, rows, num_samples, table + at, bias + at, out + at);
}

TARGET static void AT_WIDTH(backward)(const grid_conv_shape *s, const uint16_t *rows,
                                      int64_t num_samples, const float *out, const float *grad_out,
                                      float *grad_table, float *grad_bias) {
    enum { MANY = LANES < 8 ? 8 : 64 / LANES, FEW = GRID_CONV_BLOCK / LANES };
    layout l = lay_out(s);
    int32_t at = 0;
    for (; at + MANY * LANES <= s->num_outputs; at += MANY * LANES)
        AT_WIDTH(add_gradients)(s, &l, MANY, rows, num_samples, out + at, grad_out + at,
                                grad_table + at, grad_bias + at);
    for (; at < s->num_outputs; at += FEW * LANES)
        AT_WIDTH(add_gradients)(s, &l, FEW, rows, num_samples, out + at, grad_out + at,
                                grad_table + at, grad_bias + at);
}
/* clang-format on */

#undef LANES
#undef TARGET
#undef AT_WIDTH
