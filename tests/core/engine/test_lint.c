/* Plans of a training step for GPUs that are not here: no launch with much to do may have fewer
 * work-groups than twice the device's compute units. */
#include "extent.h"
#include "plan.h"
#include "roles.h"
#include "session.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

typedef struct target {
    const char *name;
    uint32_t units, shared, group, gib; /* gib: of memory */
    bool unified, slow_shared;
    dart_vendor vendor;
} target;

static const target targets[] = {
    {"H100", 132, 49152, 1024, 80, false, false, DART_VENDOR_NVIDIA},
    {"RX 7900 XTX", 96, 65536, 1024, 24, false, false, DART_VENDOR_AMD},
    {"RX 580", 36, 65536, 1024, 8, false, false, DART_VENDOR_AMD},
    {"Arc A770", 32, 65536, 1024, 16, false, false, DART_VENDOR_INTEL},
    {"Adreno 740", 6, 32768, 1024, 8, true, false, DART_VENDOR_QUALCOMM},
    {"Mali G78", 20, 32768, 512, 8, true, true, DART_VENDOR_ARM},
    {"V3D 4.2", 1, 16384, 256, 2, true, false, DART_VENDOR_BROADCOM},
};

static dart_caps caps_of(const target *t)
{
    dart_caps caps = {.max_invocations = t->group,
        .max_shared = t->shared,
        .max_groups = {65535, 65535, 65535},
        .max_buffers = 8,
        .max_params = 128,
        .offset_align = 256,
        .word = 4,
        .memory = (uint64_t)t->gib << 30,
        .threads = t->units,
        .unified = t->unified,
        .slow_shared = t->slow_shared,
        .vendor = t->vendor};
    snprintf(caps.name, sizeof caps.name, "%s", t->name);
    snprintf(caps.api, sizeof caps.api, "Vulkan 1.3");
    return caps;
}

/* Operations and bytes from which on a launch should keep all units busy. */
static const double much_flops = 50e6, much_bytes = 8e6;

static void check_launch(const target *t, const char *method, const dart_launch *l)
{
    double bytes = 0;
    for (uint32_t b = 0; b < l->buffers; b++) bytes += 4.0 * (double)l->buf[b].words;
    const double flops = dart_launch_flops(l);
    const uint64_t groups = (uint64_t)l->groups[0] * l->groups[1];
    if ((flops < much_flops && bytes < much_bytes) || groups >= 2 * t->units) return;
    const gemm_params *p = (const gemm_params *)(const void *)l->param;
    fail_msg("%s, %s: kernel %s%s%s has %" PRIu64 " work-groups for %.0f MFLOP and %.1f MB "
             "(as gemm: %u x %u, sum of %u)",
        t->name, method, dart_kernel_info_of(l->kernel)->name, l->variant ? "." : "",
        dart_kernel_feature(l->kernel, l->variant), groups, 1e-6 * flops, 1e-6 * bytes, p->m, p->n,
        p->k);
}

/* Two blocks of GPT-2's width and vocabulary: further ones are the same again. Returns launches. */
static uint32_t check_step(const target *t, const char *method)
{
    const bool small = t->gib < 4;
    dart_model_config c = {.layers = 2,
        .d_model = 768,
        .heads = 12,
        .kv_heads = 12,
        .d_ff = 3072,
        .context = small ? 256 : 1024,
        .vocab = 50257,
        .tied = true,
        .bias = DART_ALL_BIAS,
        .act = DART_ACT_GELU};
    const dart_caps caps = caps_of(t);
    dart_model *model;
    dart_session *session;
    uint32_t count;
    roles_new(&c, 32, 32, 32, 3);
    c.positions.kind = DART_LEARNED;
    role_set(&c, LINEAR, method);
    if (!strcmp(method, "lora")) {
        role_set(&c, EMBEDDING, "frozen");
        c.frozen_vectors = c.of_base = true;
    }
    ok(dart_model_new(&c, NULL, &model));
    const dart_optim *optim = dart_optim_find("adamw");
    const dart_session_options o = {.batch = small ? 1 : 8,
        .time = c.context,
        .chunk_rows = 128,
        .chunk_grows = true,
        .train = true,
        .accumulation = 1,
        .optim = optim,
        .optim_options = dart_options_default(optim->options),
        .max_grad_norm = 1};
    ok(dart_session_new(NULL, &caps, model, &o, &session));
    const dart_launch *list = dart_plan_launches(session->part[DART_PART_STEP].plan, &count);
    assert_true(count > 100);
    for (uint32_t i = 0; i < count; i++) check_launch(t, method, &list[i]);
    dart_session_free(session);
    dart_model_free(model);
    return count;
}

static void enough_groups(void **state)
{
    (void)state;
    static const char *const methods[] = {"tt", "dense", "lora"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        for (size_t m = 0; m < sizeof methods / sizeof *methods; m++)
            printf("%s, %s: %u launches\n", targets[i].name, methods[m],
                check_step(&targets[i], methods[m]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(enough_groups)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
