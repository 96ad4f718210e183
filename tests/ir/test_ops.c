/* Every op through planner and lowering: outputs and gradients of a backend agree with those of the
 * f64 oracle that is fed the same rounded inputs.
 *
 * test_ops [device...]: default cpu; a device that is absent is printed as skipped. */
#include "op_run.h"

static void compare(const builder *b, dart_op op, uint32_t variant, const char *what,
    const double *want, const double *got, uint64_t words, double tolerance, counts *c)
{
    double error = 0, size = 0;
    bool bad = false, exact = true;
    for (uint64_t i = 0; i < words; i++) {
        double w = want[i], g = got[i];
        bad |= isnan(g) || isinf(g);
        exact &= (float)w == (float)g;
        error += (w - g) * (w - g);
        size += w * w;
    }
    double nmse = size > 0 ? error / size : error;
    if (bad || (b->bit_exact ? !exact : !(nmse <= tolerance))) {
        printf("FAILED %s/%u %s: NMSE %.3g, tolerance %.1g%s\n", dart_op_info_of(op)->name, variant,
            what, nmse, b->bit_exact ? 0 : tolerance, bad ? ", not finite" : "");
        c->failed++;
    }
}

static void agreement(
    dart_device *oracle, dart_device *device, dart_op op, uint32_t variant, counts *c)
{
    builder b;
    dart_node y, loss, dx[MAX_X];
    if (!build(&b, op, variant, &y, &loss, dx)) return;
    dart_node keep[1 + MAX_X] = {y};
    uint32_t keeps = 1;
    for (uint32_t i = 0; i < b.xs; i++)
        if (dx[i]) keep[keeps++] = dx[i];
    ir_run run[2];
    dart_device *devices[2] = {oracle, device};
    bool ok = true;
    for (int k = 0; k < 2; k++)
        ok = check(ir_prepare(&run[k], devices[k], b.g, &b.data, keeps, keep), op, variant, c) &&
             ok && check(dart_exec_run(run[k].exec, NULL), op, variant, c);
    for (uint32_t i = 0; ok && i < keeps; i++) {
        double *want = node_values(&run[0], i), *got = node_values(&run[1], i);
        compare(&b, op, variant, i ? "gradient" : "output", want, got, run[0].keep_words[i],
            i && b.tolerance < 1e-8 ? 1e-8 : b.tolerance, c);
        free(want);
        free(got);
        c->done++;
    }
    for (uint32_t i = 0; ok && i < b.read_count; i++) {
        uint64_t words = b.data.words[b.reads[i]];
        double *want = dart_calloc(words, sizeof *want), *got = dart_calloc(words, sizeof *got);
        if (!want || !got || ir_read_region(&run[0], (int)b.reads[i], want) != DART_OK ||
            ir_read_region(&run[1], (int)b.reads[i], got) != DART_OK)
            abort();
        compare(&b, op, variant, dart_region_name((dart_region)b.reads[i]), want, got, words,
            b.tolerance, c);
        free(want);
        free(got);
        c->done++;
    }
    for (int k = 0; k < 2; k++) ir_run_free(&run[k]);
    builder_free(&b);
}

int main(int argc, char **argv)
{
    const char *fallback[] = {"cpu"};
    const char *limits_name =
        argc > 2 && strncmp(argv[argc - 1], "emu-", 4) == 0 ? argv[--argc] : NULL;
    const char *const *names = argc > 1 ? (const char *const *)argv + 1 : fallback;
    int count = argc > 1 ? argc - 1 : 1;
    uint32_t failed = 0;
    dart_device *oracle;
    if (dart_device_open("cpu64", NULL, &oracle) != DART_OK) {
        printf("%s\n", dart_error_text());
        return 1;
    }
    for (int d = 0; d < count; d++) {
        counts here = {0};
        dart_device *device;
        dart_status status =
            dart_device_open(names[d], limits_name ? dart_limits_find(limits_name) : NULL, &device);
        if (status != DART_OK) {
            printf("skipped %s: %s\n", names[d], dart_error_text());
            if (strcmp(names[d], "cpu") == 0) failed++;
            continue;
        }
        for (int op = 1; op < DART_OPS; op++)
            for (uint32_t v = 0; v < 96; v++) agreement(oracle, device, (dart_op)op, v, &here);
        printf("op agreement on %s (%s)%s%s: %u tensors compared, %u failed\n", names[d],
            device->caps.name, limits_name ? " under " : "", limits_name ? limits_name : "",
            here.done, here.failed);
        if (here.done < 400) {
            printf("FAILED: fewer than 400 tensors were compared\n");
            here.failed++;
        }
        failed += here.failed;
        dart_device_close(device);
    }
    dart_device_close(oracle);
    return failed ? 1 : 0;
}
