/* What compilers of GPUs that are not here make of our kernels, against figures that were kept:
 * a change for the worse fails. usage: test_kernels [keep] [GPU...], five of AMD's by default.
 *
 * figures/<GPU>.csv has the compiler in its first line; figures of another one are not compared.
 * `keep` writes them anew, for those who looked at what changed. Compilers that are not installed
 * are skipped, and said to be. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kernels_task.h"
#include "compilers.h"
#include "file.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *gpus = "amd:polaris10,amd:vega10,amd:raven,amd:navi10,amd:navi21";
static bool keep;

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

/* ---- models: two blocks of GPT-2's width, whose tiles are the large ones ---- */

typedef struct model {
    const char *name, *set[12][2];
} model;

#define WIDTH                                                                                      \
    {"layers", "2"}, {"d_model", "768"}, {"heads", "12"}, {"context", "512"}, {"batch_size", "4"}, \
        {"vocab_size", "32000"},                                                                   \
    {                                                                                              \
        "rank", "16"                                                                               \
    }
static const model models[] = {
    {"gpt", {WIDTH, {"embedding", "tt"}, {"dropout", "0.1"}}},
    {"llama", {WIDTH, {"arch", "llama"}, {"ordered_dropout", "0.1"}}},
};
enum { MODELS = sizeof models / sizeof *models };
/* Intel's compiler is a program that starts for each kernel: the first model has to do. */
static size_t models_for(const dart_gpu *gpu)
{
    return gpu->driver ? MODELS : 1;
}
/* Kernels with their constants that at least have to have been made of a model. */
enum { LEAST_ROWS = 45 };

static dart_kernels *compile(const model *m, const char *gpu)
{
    dart_recipe *recipe;
    dart_kernels *kernels;
    ok(dart_recipe_new(&recipe));
    for (size_t i = 0; m->set[i][0]; i++) ok(dart_recipe_set(recipe, m->set[i][0], m->set[i][1]));
    const dart_kernels_options options = {.size = sizeof options, .gpus = gpu};
    ok(dart_kernels_new(recipe, &options, &kernels));
    dart_recipe_free(recipe);
    return kernels;
}

/* ---- what may not be, and why it is in some places ---- */

static const struct reason {
    const char *gpu, *kernel, *constants; /* beginning; whole; part */
    const char *why;                      /* few waves */
} reasons[] = {
    {"pi4", "attend", "",
        "two threads of a QPU, as 16 registers do not hold scores, sums and keys"},
    {"amd:", "gemm.shared", "8x16",
        "16 words of a lane on their way to shared memory leave 3 waves; with half the rows a "
        "product costs a third more cycles by the compiler's count"},
    {"amd:", "gemm.shared", "TM=2 TN=8", "as for 8x16"},
    {"amd:", "attention", "8x16",
        "12 KiB of shared memory for two waves leave three on a SIMD of GCN; with 4 rows a lane "
        "and "
        "one wave there were two"},
    {"amd:", "attention_dx", "8x16",
        "as for attention: 14 KiB, and 88 words a lane where keys are made; two instead of one"},
};

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static const char *reason_for(const char *gpu, const dart_kernels_row *row)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (begins(gpu, reasons[i].gpu) && !strcmp(row->kernel, reasons[i].kernel) &&
            strstr(row->constants, reasons[i].constants))
            return reasons[i].why;
    return NULL;
}

static uint32_t judge_row(const char *gpu, const dart_kernels_row *row)
{
    const bool spills = row->spills > 0 || row->scratch > 0, few = row->waves < 4;
    if (*row->why) {
        printf("%s %s %s: not made: %s\n", gpu, row->kernel, row->constants, row->why);
        return 1;
    }
    if (!spills && (!few || reason_for(gpu, row))) return 0;
    printf("%s %s %s: %g spills, %g bytes of scratch, %g waves\n", gpu, row->kernel, row->constants,
        row->spills, row->scratch, row->waves);
    return 1;
}

/* ---- kept figures ---- */

enum { FIGURES = 6, LINE = 256 };
static const char heading[] =
    "model,kernel,constants,registers,spills,scratch,waves,width,cycles or instructions\n";

static void figures_of(const dart_kernels_row *row, double out[FIGURES])
{
    const double cost = isnan(row->cycles) ? row->instructions : row->cycles;
    const double all[FIGURES] = {
        row->registers, row->spills, row->scratch, row->waves, row->width, cost};
    memcpy(out, all, sizeof all);
}

static void path_of(const char *gpu, char out[512])
{
    snprintf(out, 512, DART_SOURCE_DIR "/tests/tasks/kernels/figures/%s.csv", gpu);
    for (char *c = strrchr(out, '/'); *c; c++)
        if (*c == ':') *c = '-';
}

/* The line of a row begins so. */
static void key_of(const model *m, const dart_kernels_row *row, char out[LINE])
{
    snprintf(out, LINE, "%s,%s,%s,", m->name, row->kernel, row->constants);
}

/* NULL where a file has no such line, else what follows the key. */
static const char *find_line(const char *file, const char *key)
{
    const char *at = file;
    while (at && !begins(at, key)) at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL;
    return at ? at + strlen(key) : NULL;
}

/* Better is: fewer spills and bytes of scratch, more waves, not narrower, not 5 % dearer. */
static uint32_t compare(
    const char *gpu, const model *m, const dart_kernels_row *row, const char *kept)
{
    double now[FIGURES], then[FIGURES];
    char key[LINE];
    key_of(m, row, key);
    const char *line = find_line(kept, key);
    if (!line) return 0; /* new constants: judge_row has seen them */
    figures_of(row, now);
    for (int f = 0; f < FIGURES; f++) {
        then[f] = *line == ',' || *line == '\n' ? NAN : strtod(line, NULL);
        line += strcspn(line, ",\n");
        if (*line == ',') line++;
    }
    if (!(now[1] > then[1]) && !(now[2] > then[2]) && !(now[3] < then[3]) && !(now[4] < then[4]) &&
        !(now[5] > 1.05 * then[5]))
        return 0;
    printf("%s %s became worse: spills %g to %g, scratch %g to %g, waves %g x %g to %g x %g, cost "
           "%g to %g\n",
        gpu, key, then[1], now[1], then[2], now[2], then[3], then[4], now[3], now[4], then[5],
        now[5]);
    return 1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void write_figures(const char *gpu, dart_kernels *of[MODELS], size_t models_of)
{
    char path[512], *line[MODELS * 256];
    size_t lines = 0;
    path_of(gpu, path);
    FILE *out = fopen(path, "w");
    if (!out) fail_msg("%s cannot be written", path);
    fprintf(out, "# %s\n%s", of[0]->gpu[0].driver, heading);
    for (size_t m = 0; m < models_of; m++)
        for (size_t r = 0; r < of[m]->rows && lines < MODELS * 256; r++) {
            double figures[FIGURES];
            char *text = calloc(1, LINE + 128), key[LINE];
            key_of(&models[m], &of[m]->row[r], key);
            figures_of(&of[m]->row[r], figures);
            strcpy(text, key);
            for (int f = 0; f < FIGURES; f++) {
                if (!isnan(figures[f])) sprintf(text + strlen(text), "%.6g", figures[f]);
                strcat(text, f + 1 < FIGURES ? "," : "\n");
            }
            line[lines++] = text;
        }
    qsort(line, lines, sizeof *line, by_name);
    for (size_t i = 0; i < lines; i++) {
        fputs(line[i], out);
        free(line[i]);
    }
    fclose(out);
}

/* NULL where there is none, or of another compiler. */
static char *read_figures(const char *gpu, const char *driver)
{
    char path[512], first[160], *text = NULL;
    size_t size;
    path_of(gpu, path);
    if (dart_file_read(path, &text, &size) != DART_OK) return NULL;
    snprintf(first, sizeof first, "# %s\n", driver);
    if (begins(text, first)) return text;
    free(text);
    return NULL;
}

/* ---- the tests ---- */

static void figures(void **state)
{
    (void)state;
    const dart_gpu *gpu[DART_MOST_GPUS];
    uint32_t count, bad = 0, skipped = 0, cases = 0;
    ok(dart_gpu_list(gpus, gpu, &count));
    for (uint32_t g = 0; g < count; g++) {
        const char *name = gpu[g]->name;
        dart_kernels *of[MODELS];
        const size_t used = models_for(gpu[g]);
        for (size_t m = 0; m < used; m++) of[m] = compile(&models[m], name);
        if (*of[0]->gpu[0].reason) {
            printf("skipped: %s\n", of[0]->gpu[0].reason);
            skipped++;
        } else {
            char *kept = read_figures(name, of[0]->gpu[0].driver);
            uint32_t rows = 0;
            if (!kept) printf("%s: no kept figures of %s\n", name, of[0]->gpu[0].driver);
            for (size_t m = 0; m < used; m++) {
                if (of[m]->rows < LEAST_ROWS)
                    fail_msg("%s: %zu kernels of %s", name, of[m]->rows, models[m].name);
                for (size_t r = 0; r < of[m]->rows; r++, rows++) {
                    bad += judge_row(name, &of[m]->row[r]);
                    if (kept && !keep) bad += compare(name, &models[m], &of[m]->row[r], kept);
                }
            }
            printf("%s, %s: %u kernels\n", name, of[0]->gpu[0].driver, rows);
            cases += rows;
            free(kept);
            if (keep) write_figures(name, of, used);
        }
        for (size_t m = 0; m < used; m++) dart_kernels_free(of[m]);
    }
    printf("%u cases executed, %u GPUs skipped\n", cases, skipped);
    if (bad)
        fail_msg("%u kernels became worse; where that is as it should be, "
                 "tests/tasks/kernels/README.md says how figures are kept",
            bad);
    if (skipped == count) skip();
}

/* Every kernel of the table for GPUs, with the constants of its text; what needs matrix units is
 * made in tests/next. */
static void all_kernels(void **state)
{
    (void)state;
    const dart_gpu *gpu[DART_MOST_GPUS];
    dart_launch list[2 * DART_KERNELS] = {0};
    dart_made made[2 * DART_KERNELS];
    uint32_t count, launches = 0, skipped = 0;
    ok(dart_gpu_list(gpus, gpu, &count));
    for (int k = 0; k < DART_KERNELS; k++)
        for (uint32_t v = 0; v < DART_MAX_VARIANTS; v++) {
            const char *feature = dart_kernel_feature((dart_kernel)k, v);
            if (!feature || strstr("dot panel block matrix_f16 matrix_bf16 " DART_PROVIDER,
                                *feature ? feature : "-"))
                continue;
            const dart_kernel_info *info = dart_kernel_info_of((dart_kernel)k);
            dart_launch *l = &list[launches++];
            l->kernel = (dart_kernel)k;
            l->variant = (uint8_t)v;
            l->buffers = info->buffers;
            l->tunes = info->tunes;
            memcpy(l->tune, info->tune_default, sizeof info->tune_default);
        }
    assert_true(launches > DART_KERNELS);
    for (uint32_t g = 0; g < count; g++) {
        dart_caps caps;
        if (dart_gpu_caps(gpu[g], &caps) != DART_OK) {
            printf("skipped: %s\n", dart_error_text());
            skipped++;
            continue;
        }
        ok(dart_gpu_make(gpu[g], list, launches, made));
        for (uint32_t i = 0; i < launches; i++)
            if (!made[i].made)
                fail_msg("%s: %s: %s", gpu[g]->name, dart_kernel_info_of(list[i].kernel)->name,
                    made[i].why);
        printf("%s: %u kernels of %d texts\n", gpu[g]->name, launches, DART_KERNELS);
    }
    if (skipped == count) skip();
}

int main(int argc, char **argv)
{
    static char list[512];
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "keep")) {
            keep = true;
            continue;
        }
        snprintf(
            list + strlen(list), sizeof list - strlen(list), "%s%s", *list ? "," : "", argv[i]);
        gpus = list;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kernels),
        cmocka_unit_test(figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
