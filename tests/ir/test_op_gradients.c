/* The gradient of every op in f64: central differences, eps 1e-6, rtol 1e-3, atol 1e-5. */
#include "op_run.h"

enum { FD_SAMPLES = 12 };

/* Central differences of the loss in f64 against the built gradient, for some entries of each leaf.
 */
static void gradient_check(dart_device *oracle, dart_op op, uint32_t variant, counts *c)
{
    builder b;
    dart_node y, loss, dx[MAX_X];
    if (!build(&b, op, variant, &y, &loss, dx)) return;
    if (!b.no_gradient && !b.rounds && b.xs) {
        ir_run run;
        dart_node keep[1 + MAX_X] = {loss};
        uint32_t keeps = 1, at[MAX_X];
        for (uint32_t i = 0; i < b.xs; i++)
            if (dx[i]) keep[at[i] = keeps++] = dx[i];
        if (check(ir_prepare(&run, oracle, b.g, &b.data, keeps, keep), op, variant, c) &&
            check(dart_exec_run(run.exec, NULL), op, variant, c)) {
            double *grads[MAX_X] = {0};
            for (uint32_t i = 0; i < b.xs; i++)
                if (dx[i]) grads[i] = node_values(&run, at[i]);
            for (uint32_t i = 0; i < b.xs; i++) {
                const dart_node_info *x = dart_node_get(b.g, b.x[i]);
                uint64_t words = dart_shape_words(&x->shape);
                for (uint32_t s = 0; s < FD_SAMPLES && s < words; s++) {
                    uint64_t e = words <= FD_SAMPLES ? s : (uint64_t)s * 2654435761u % words;
                    double *value = &b.data.region[x->i[0]][x->i[1] + (int64_t)e], kept = *value;
                    double side[2];
                    for (int k = 0; k < 2; k++) {
                        *value = kept + (k ? -1e-6 : 1e-6);
                        if (ir_write(&run, &b.data) != DART_OK ||
                            dart_exec_run(run.exec, NULL) != DART_OK ||
                            ir_read(&run, 0, &side[k]) != DART_OK)
                            abort();
                    }
                    *value = kept;
                    double numeric = (side[0] - side[1]) / 2e-6, built = grads[i] ? grads[i][e] : 0;
                    if (!(fabs(numeric - built) <= 1e-5 + 1e-3 * fabs(numeric))) {
                        printf("FAILED gradient %s/%u, input %u, entry %llu: built %.9g, "
                               "differences %.9g\n",
                            dart_op_info_of(op)->name, variant, i, (unsigned long long)e, built,
                            numeric);
                        c->failed++;
                    }
                }
                free(grads[i]);
            }
            c->done++;
        }
        ir_run_free(&run);
    }
    builder_free(&b);
}

int main(void)
{
    counts total = {0};
    dart_device *oracle;
    if (dart_device_open("cpu64", NULL, &oracle) != DART_OK) {
        printf("%s\n", dart_error_text());
        return 1;
    }
    for (int op = 1; op < DART_OPS; op++)
        for (uint32_t v = 0; v < 96; v++) gradient_check(oracle, (dart_op)op, v, &total);
    printf("gradient checks in f64: %u cases\n", total.done);
    if (total.done < 180) {
        printf("FAILED: fewer than 180 gradient cases ran\n");
        total.failed++;
    }
    dart_device_close(oracle);
    return total.failed ? 1 : 0;
}
