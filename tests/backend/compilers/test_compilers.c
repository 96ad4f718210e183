/* Compilers of GPUs that are not here: which are meant, what child processes bring back, Intel's
 * binaries, times. What compilers make of kernels: tests/tasks/kernels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "parts.h"
#include <elf.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void lists(void **state)
{
    (void)state;
    const dart_gpu *gpu[DART_MOST_GPUS];
    uint32_t count, all = 0;
    while (dart_gpu_at(all)) all++;
    assert_int_equal(dart_gpu_list("intel:dg2,amd:navi21,intel:dg2", gpu, &count), DART_OK);
    assert_int_equal(count, 2);
    assert_string_equal(gpu[0]->name, "amd:navi21");
    assert_int_equal(dart_gpu_list("amd", gpu, &count), DART_OK);
    assert_true(count >= 10 && count < all);
    assert_int_equal(dart_gpu_list("all", gpu, &count), DART_OK);
    assert_int_equal(count, all);
    static const char *const bad[] = {"", ",", "am", "amd:", "amd:navi21,,pi4", "intel:dg22"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(dart_gpu_list(bad[i], gpu, &count), DART_USAGE);
    for (uint32_t i = 0; i < all; i++) {
        const dart_gpu *g = dart_gpu_at(i);
        assert_true(g->ghz > 0 && g->gbs > 0 && g->lanes && g->gib);
        assert_true(g->driver || (g->group && g->threads && g->sharers && g->shared_kib));
    }
}

/* ---- children ---- */

typedef struct counter {
    int first, records, most, ends;
} counter;

static void count_up(void *context, int pipe)
{
    const counter *c = context;
    for (int i = 0; i < c->most; i++) dart_child_send(pipe, &(int){c->first + i}, sizeof(int));
    if (c->ends) raise(c->ends);
}

static void take(void *context, const void *record)
{
    counter *c = context;
    assert_int_equal(*(const int *)record, c->first + c->records);
    c->records++;
}

static void children(void **state)
{
    (void)state;
    static const int ends[] = {0, SIGSEGV, SIGABRT, SIGKILL};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        int ended = -1;
        counter c = {.first = 7, .most = 3, .ends = ends[i]};
        const dart_child child = {count_up, take, &c, sizeof(int)};
        assert_int_equal(dart_child_run(&child, &ended), DART_OK);
        assert_int_equal(ended, ends[i]);
        assert_int_equal(c.records, 3);
    }
}

/* ---- Intel's binaries ---- */

/* An ELF file with .text.k, .ze_info and their names. */
static size_t make_zebin(const char *info, const uint32_t *code, size_t words, char *out)
{
    static const char names[] = "\0.text.k\0.ze_info\0.names";
    Elf64_Ehdr head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64},
        .e_shentsize = sizeof(Elf64_Shdr),
        .e_shnum = 4,
        .e_shstrndx = 3,
        .e_shoff = sizeof head};
    Elf64_Shdr row[4] = {{0}, {.sh_name = 1, .sh_size = 4 * words},
        {.sh_name = 9, .sh_size = strlen(info)}, {.sh_name = 18, .sh_size = sizeof names}};
    const void *data[4] = {NULL, code, info, names};
    size_t at = sizeof head + sizeof row;
    for (int i = 1; i < 4; i++) {
        row[i].sh_offset = at;
        memcpy(out + at, data[i], row[i].sh_size);
        at += row[i].sh_size;
    }
    memcpy(out, &head, sizeof head);
    memcpy(out + sizeof head, row, sizeof row);
    return at;
}

static void binaries(void **state)
{
    (void)state;
    /* a whole instruction, a compacted one, a whole one; then what fills up */
    static const uint32_t code[16] = {0x31, 0, 0, 0, 0x20000031, 0, 0x61, 0, 0, 0};
    static const char info[] = "kernels:\n  - name: k\n    execution_env:\n      grf_count: 128\n"
                               "      simd_size: 16\n      slm_size: 4352\n"
                               "    per_thread_memory_buffers:\n      - type: scratch\n"
                               "        usage: spill_fill_space\n        size: 640\n";
    char file[4096] = {0};
    const size_t size = make_zebin(info, code, 16, file);
    dart_figures f;
    assert_true(dart_zebin_read(file, size, &f));
    assert_true(f.registers == 128 && f.width == 16 && f.shared == 4352);
    assert_true(f.spills == 20 && f.scratch == 640 && f.instructions == 3);
    assert_true(isnan(f.cycles));
    uint32_t refused = 0;
    for (size_t i = 0; i < size; i++) { /* no end and no damage is believed or read past */
        char *copy = malloc(i + 1);
        memcpy(copy, file, i);
        if (!dart_zebin_read(copy, i, &f)) refused++;
        free(copy);
        copy = malloc(size);
        memcpy(copy, file, size);
        copy[i] = (char)(copy[i] ^ 0xff);
        (void)dart_zebin_read(copy, size, &f);
        free(copy);
    }
    assert_true(refused > size / 2);
}

/* ---- times ---- */

static void times(void **state)
{
    (void)state;
    const dart_gpu gpu = {.units = 10, .schedulers = 2, .lanes = 64, .ghz = 1, .gbs = 100};
    dart_launch launch = {.kernel = DART_K_gemm, .buffers = 3, .groups = {1000, 2, 1}};
    const gemm_params p = {.m = 1000, .n = 100, .k = 64, .batch0 = 1, .batch1 = 1, .batch2 = 1};
    memcpy(launch.param, &p, sizeof p);
    launch.tune[0] = launch.tune[1] = 8;
    dart_figures f = DART_NO_FIGURES;
    launch.buf[0].words = 1000;
    assert_true(fabs(dart_gpu_seconds(&gpu, &launch, &f) - 2e3 * 100 * 64 / 1280e9) < 1e-12);
    f.cycles = 500;
    f.width = 64; /* 2,000 waves on 20 schedulers */
    assert_true(fabs(dart_gpu_seconds(&gpu, &launch, &f) - 2000 * 500 / 20e9) < 1e-12);
    launch.buf[2].words = 10000000;
    assert_true(fabs(dart_gpu_seconds(&gpu, &launch, &f) - 4 * 10001000 / 100e9) < 1e-12);
}

static void missing(void **state)
{
    (void)state;
    dart_caps caps;
    dart_gpu gpu = {.name = "none:x", .driver = "nobody_has_this"};
    assert_int_equal(dart_gpu_caps(&gpu, &caps), DART_DEVICE);
    char *path = strdup(getenv("PATH"));
    setenv("PATH", "/nowhere", 1);
    gpu.driver = NULL;
    assert_int_equal(dart_gpu_caps(&gpu, &caps), DART_DEVICE);
    setenv("PATH", path, 1);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),
        cmocka_unit_test(children),
        cmocka_unit_test(binaries),
        cmocka_unit_test(times),
        cmocka_unit_test(missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
