/* Which kernels, with which constants, a model's programs have on a GPU, and what its compiler says
 * of them. */
#include "kernels_task.h"
#include "compilers.h"
#include "infer.h"
#include "inspect.h"
#include "setup.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A kernel with its constants, and the launches that have it. */
typedef struct form {
    dart_launch launch; /* the first of them */
    uint32_t step, token, others;
} form;

typedef struct forms {
    form *form; /* owned */
    size_t count, capacity;
} forms;

static bool same(const dart_launch *a, const dart_launch *b)
{
    return a->kernel == b->kernel && a->variant == b->variant &&
           memcmp(a->tune, b->tune, a->tunes * sizeof *a->tune) == 0;
}

static form *find(const forms *list, const dart_launch *launch)
{
    for (size_t i = 0; i < list->count; i++)
        if (same(&list->form[i].launch, launch)) return &list->form[i];
    return NULL;
}

/* ---- programs ---- */

enum { STEP, TOKEN, OTHER };

typedef struct program {
    const dart_plan *plan;
    int kind;
} program;

enum { MOST_PROGRAMS = DART_PARTS + DART_INFER_PARTS };

typedef struct programs {
    dart_session *session;
    dart_infer *infer; /* NULL: the model is no decoder of texts */
    program program[MOST_PROGRAMS];
    uint32_t count;
} programs;

static void programs_free(programs *p)
{
    dart_session_free(p->session);
    dart_infer_free(p->infer);
    *p = (programs){0};
}

static void add_program(programs *p, const dart_graph_program *of, int kind)
{
    if (of->plan) p->program[p->count++] = (program){of->plan, kind};
}

static dart_status plan_programs(const dart_bundle *b, const dart_caps *caps, programs *out)
{
    dart_session_options options;
    DART_TRY(dart_session_options_from(&b->set, b->vocab->size, &options));
    options.train = options.eval = true;
    options.logits = false;
    options.shapes = 1; /* others have the same kernels, with smaller tiles at most */
    DART_TRY(dart_session_new(NULL, caps, b->model, &options, &out->session));
    for (int p = 0; p < DART_PARTS; p++)
        add_program(out, &out->session->part[p], p == DART_PART_EVAL ? OTHER : STEP);
    if (b->model->config.enc_layers || b->model->config.labels) return DART_OK;
    const dart_infer_options infer = {
        .batch = 1, .weights = dart_infer_weights_from(b->set.infer_weights)};
    DART_TRY(dart_infer_plan(caps, b->model, &infer, &out->infer));
    for (int p = 0; p < DART_INFER_PARTS; p++)
        add_program(out, &out->infer->part[p].program, p == DART_INFER_STEP ? TOKEN : OTHER);
    return DART_OK;
}

static dart_status gather(const programs *p, forms *out)
{
    for (uint32_t i = 0; i < p->count; i++) {
        uint32_t count;
        const dart_launch *list = dart_plan_launches(p->program[i].plan, &count);
        for (uint32_t l = 0; l < count; l++) {
            form *f = find(out, &list[l]);
            if (!f) {
                void *grown = out->form;
                DART_TRY(dart_grow(&grown, &out->capacity, out->count + 1, sizeof *out->form));
                out->form = grown;
                f = &out->form[out->count++];
                f->launch = list[l];
            }
            const int kind = p->program[i].kind;
            *(kind == STEP ? &f->step : kind == TOKEN ? &f->token : &f->others) += 1;
        }
    }
    return DART_OK;
}

/* ---- rows ---- */

static void name_constants(const dart_launch *l, char *out, size_t size)
{
    const dart_kernel_info *info = dart_kernel_info_of(l->kernel);
    size_t used = (size_t)snprintf(out, size, "%ux%u", l->tune[0], l->tune[1]);
    for (uint32_t i = 2; i < l->tunes && used < size; i++)
        if (l->tune[i] != info->tune_default[i])
            used +=
                (size_t)snprintf(out + used, size - used, " %s=%u", info->tune_name[i], l->tune[i]);
}

static void fill_row(const form *f, const dart_made *made, dart_kernels_row *row)
{
    const dart_launch *l = &f->launch;
    const dart_figures *g = &made->figures;
    const char *feature = dart_kernel_feature(l->kernel, l->variant);
    snprintf(row->kernel, sizeof row->kernel, "%s%s%s", dart_kernel_info_of(l->kernel)->name,
        *feature ? "." : "", feature);
    name_constants(l, row->constants, sizeof row->constants);
    snprintf(row->why, sizeof row->why, "%s", made->why);
    row->launches_of_step = f->step;
    row->launches_of_token = f->token;
    row->launches_of_others = f->others;
    row->registers = g->registers;
    row->spills = g->spills;
    row->scratch = g->scratch;
    row->shared = g->shared;
    row->waves = g->waves;
    row->width = g->width;
    row->instructions = g->instructions;
    row->cycles = g->cycles;
}

/* Times of all launches: into the rows, which stand as the forms do, and into the GPU. */
static void add_times(const programs *p, const forms *list, const dart_made *made,
    const dart_gpu *gpu, dart_kernels_row *row, dart_kernels_gpu *out)
{
    out->step_seconds = 0;
    out->token_seconds = p->infer ? 0 : NAN;
    for (uint32_t i = 0; i < p->count; i++) {
        uint32_t count;
        const dart_launch *launch = dart_plan_launches(p->program[i].plan, &count);
        if (p->program[i].kind == OTHER) continue;
        for (uint32_t l = 0; l < count; l++) {
            const size_t f = (size_t)(find(list, &launch[l]) - list->form);
            const double seconds = dart_gpu_seconds(gpu, &launch[l], &made[f].figures);
            if (p->program[i].kind == TOKEN) {
                out->token_seconds += seconds;
                continue;
            }
            out->step_seconds += seconds;
            row[f].seconds += seconds;
        }
    }
}

static int longer_first(const void *a, const void *b)
{
    const dart_kernels_row *x = a, *y = b;
    if (x->seconds != y->seconds) return x->seconds < y->seconds ? 1 : -1;
    const int by_name = strcmp(x->kernel, y->kernel);
    return by_name ? by_name : strcmp(x->constants, y->constants);
}

static dart_status make_all(
    const programs *p, const forms *list, const dart_gpu *gpu, uint32_t number, dart_kernels *out)
{
    dart_status status = DART_OK;
    dart_kernels_gpu *g = &out->gpu[number];
    dart_launch *launches = dart_calloc(list->count + 1, sizeof *launches);
    dart_made *made = dart_calloc(list->count + 1, sizeof *made);
    if (!launches || !made) DART_GOTO(DART_MEMORY);
    for (size_t i = 0; i < list->count; i++) launches[i] = list->form[i].launch;
    DART_GOTO(dart_gpu_make(gpu, launches, (uint32_t)list->count, made));
    void *grown = out->row;
    DART_GOTO(dart_grow(&grown, &out->capacity, out->rows + list->count, sizeof *out->row));
    out->row = grown;
    dart_kernels_row *row = &out->row[out->rows];
    for (size_t i = 0; i < list->count; i++) {
        row[i].gpu = number;
        fill_row(&list->form[i], &made[i], &row[i]);
        if (!made[i].made) g->failed++;
    }
    add_times(p, list, made, gpu, row, g);
    g->rows = (uint32_t)list->count;
    out->rows += list->count;
    qsort(row, list->count, sizeof *row, longer_first);
done:
    free(launches);
    free(made);
    return status;
}

/* ---- GPUs ---- */

/* A compiler that is missing, or a model that is too large for the GPU, is said of that GPU; the
 * others are still wanted. */
static dart_status do_gpu(
    const dart_bundle *bundle, const dart_gpu *gpu, uint32_t number, dart_kernels *out)
{
    dart_kernels_gpu *g = &out->gpu[number];
    dart_caps caps;
    programs p = {0};
    forms list = {0};
    snprintf(g->name, sizeof g->name, "%s", gpu->name);
    snprintf(g->product, sizeof g->product, "%s", gpu->product);
    g->step_seconds = g->token_seconds = NAN;
    dart_status status = dart_gpu_caps(gpu, &caps);
    if (status == DART_OK) snprintf(g->driver, sizeof g->driver, "%s", caps.driver);
    if (status == DART_OK) status = plan_programs(bundle, &caps, &p);
    if (status == DART_OK) status = gather(&p, &list);
    if (status == DART_OK) status = make_all(&p, &list, gpu, number, out);
    programs_free(&p);
    free(list.form);
    if (status != DART_DEVICE && status != DART_MEMORY) return status;
    snprintf(g->reason, sizeof g->reason, "%s", dart_error_text());
    return DART_OK;
}

dart_status dart_kernels_new(
    const dart_recipe *recipe, const dart_kernels_options *options, dart_kernels **out)
{
    const dart_gpu *gpu[DART_MOST_GPUS];
    const char *path = options->model_path && *options->model_path ? options->model_path : NULL;
    dart_status status = DART_OK;
    dart_bundle bundle = {0};
    dart_corpus corpus = {0};
    uint32_t count;
    *out = NULL;
    DART_TRY(dart_gpu_list(options->gpus ? options->gpus : "", gpu, &count));
    dart_kernels *kernels = dart_calloc(1, sizeof *kernels);
    if (!kernels) return DART_MEMORY;
    kernels->gpu = dart_calloc(count, sizeof *kernels->gpu);
    if (!kernels->gpu) DART_GOTO(DART_MEMORY);
    kernels->gpus = count;
    DART_GOTO(dart_inspect_open(recipe, path, &corpus, &bundle));
    for (uint32_t i = 0; i < count; i++) DART_GOTO(do_gpu(&bundle, gpu[i], i, kernels));
    *out = kernels;
    kernels = NULL;
done:
    dart_bundle_free(&bundle);
    dart_corpus_free(&corpus);
    dart_kernels_free(kernels);
    return status;
}

const dart_kernels_gpu *dart_kernels_gpu_at(const dart_kernels *kernels, uint32_t index)
{
    return index < kernels->gpus ? &kernels->gpu[index] : NULL;
}

const dart_kernels_row *dart_kernels_row_at(const dart_kernels *kernels, uint32_t index)
{
    return index < kernels->rows ? &kernels->row[index] : NULL;
}

void dart_kernels_free(dart_kernels *kernels)
{
    if (!kernels) return;
    free(kernels->gpu);
    free(kernels->row);
    free(kernels);
}

const char *dart_kernels_name_at(uint32_t index)
{
    const dart_gpu *gpu = dart_gpu_at(index);
    return gpu ? gpu->name : NULL;
}
