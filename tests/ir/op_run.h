/* Builds a case with its gradients and reads what ran of it. */
#ifndef DART_TEST_OP_RUN_H
#define DART_TEST_OP_RUN_H

#include "op_cases.h"

typedef struct counts {
    uint32_t done, failed; /* gradient checks or compared tensors */
} counts;

static inline void builder_free(builder *b)
{
    dart_graph_free(b->g);
    for (int r = 0; r < DART_REGIONS; r++) free(b->data.region[r]);
}

/* Builds the case: y, its scalar sum(y * weights) and the gradients. Returns false when there is no
 * such variant. */
static inline bool build(
    builder *b, dart_op op, uint32_t variant, dart_node *y, dart_node *loss, dart_node *dx)
{
    *b = (builder){.tolerance = 0};
    if (dart_graph_new(&b->g) != DART_OK) abort();
    *y = dart_op_info_of(op)->map ? case_map(b, op, variant) : cases[op](b, variant);
    if (!*y) {
        if (dart_graph_check(b->g) != DART_OK)
            printf("%s/%u: %s\n", dart_op_info_of(op)->name, variant, dart_error_text()), abort();
        builder_free(b);
        return false;
    }
    *loss = 0;
    memset(dx, 0, MAX_X * sizeof *dx);
    if (b->no_gradient) return true;
    const dart_shape *shape = &dart_node_get(b->g, *y)->shape;
    *loss = dart_shape_words(shape) == 1 ? dart_reshape(b->g, *y, (dart_shape){0})
                                         : dart_sum_all(b->g, dart_mul(b->g, *y, table(b, *shape)));
    if (dart_grad(b->g, *loss, b->xs, b->x, dx) != DART_OK) {
        printf("%s: %s\n", dart_op_info_of(op)->name, dart_error_text());
        abort();
    }
    return true;
}

static inline bool check(dart_status status, dart_op op, uint32_t variant, counts *c)
{
    if (status == DART_OK) return true;
    printf("FAILED %s/%u: %s\n", dart_op_info_of(op)->name, variant, dart_error_text());
    c->failed++;
    return false;
}

static inline double *node_values(ir_run *run, uint32_t i)
{
    double *values = dart_calloc(run->keep_words[i] + 1, sizeof *values);
    if (!values || ir_read(run, i, values) != DART_OK) {
        printf("%s\n", dart_error_text());
        abort();
    }
    return values;
}

#endif
