/* The model that is measured: trained, or fresh from a recipe with random weights. */
#include "bench.h"
#include "fresh.h"
#include <inttypes.h>
#include <string.h>

dart_status dart_bench_subject(const dart_bench_call *call, const dart_bundle **out)
{
    dart_bench_models *m = call->models;
    *out = &m->subject;
    if (m->has_subject) return DART_OK;
    dart_status status = dart_fresh_open(call->recipe, call->options->model_path, &m->subject);
    m->has_subject = status == DART_OK;
    if (!m->has_subject) dart_bundle_free(&m->subject);
    return status;
}

dart_status dart_bench_twin(const dart_bench_call *call, const dart_bundle **out)
{
    dart_bench_models *m = call->models;
    const dart_bundle *of;
    *out = &m->twin;
    if (m->has_twin) return DART_OK;
    DART_TRY(dart_bench_subject(call, &of));
    dart_model_config config = of->model->config;
    config.roles = 1;
    config.role[0] = (dart_role){.pattern = "*", .method = dart_method_find("dense")};
    m->twin = (dart_bundle){.set = of->set};
    dart_status status = dart_model_new(&config, NULL, &m->twin.model);
    if (status == DART_OK) status = dart_fresh_values(&m->twin);
    m->has_twin = status == DART_OK;
    if (!m->has_twin) dart_bundle_free(&m->twin);
    return status;
}

void dart_bench_models_free(dart_bench_models *m)
{
    dart_session_free(m->plan);
    dart_bundle_free(&m->subject);
    dart_bundle_free(&m->twin);
    *m = (dart_bench_models){0};
}

/* The method of the linear layers, where any weight has one. */
static const char *method_of(const dart_bundle *of)
{
    for (uint32_t w = 0; w < of->model->weights; w++)
        if (of->model->weight[w].compressed) return of->set.linear->name;
    return "dense";
}

void dart_bench_subject_row(dart_bench_job *job, const dart_bundle *of)
{
    dart_bench_row *row = &job->row;
    const dart_settings *set = &of->set;
    const dart_model_config *c = &of->model->config;
    char arch[32] = "model";
    uint64_t compressed, dense;
    const char *base = strrchr(set->base, '/');
    const char *method = method_of(of);
    if (of->recipe && dart_recipe_get(of->recipe, "arch", arch, sizeof arch) != DART_OK)
        arch[0] = 0;
    if (*set->base)
        snprintf(row->model, sizeof row->model, "%s", base && base[1] ? base + 1 : set->base);
    else
        snprintf(row->model, sizeof row->model, "%s %" PRIu32 " x %" PRIu32, arch,
            c->layers + c->enc_layers, c->d_model);
    dart_model_count(of->model, &row->params, &compressed, &dense);
    if (strcmp(method, "dense") != 0)
        snprintf(row->method, sizeof row->method, "%s r%" PRId64, method,
            set->linear_rank ? set->linear_rank : set->rank);
    else
        snprintf(row->method, sizeof row->method, "dense");
    for (uint32_t w = 0; w < of->model->weights; w++) {
        const dart_param *packed = dart_model_packed(of->model, w);
        if (packed) snprintf(row->dtype, sizeof row->dtype, "%s", dart_dtype_name(packed->type));
    }
}
