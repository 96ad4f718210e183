/* Cases of attention and its gradients. */
#include "cases.h"
#include <math.h>

/* Queries, keys, heads, key heads, dim. */
static const uint32_t shapes[][5] = {{1, 1, 1, 1, 1}, {3, 3, 2, 1, 5}, {31, 31, 2, 2, 8},
    {33, 33, 4, 2, 5}, {5, 70, 2, 1, 8}, {64, 64, 2, 2, 61}, {1, 33, 3, 3, 61},
    {130, 130, 1, 1, 64}, {257, 257, 2, 1, 8}, {40, 300, 2, 2, 64}, {20, 20, 1, 1, 121}};
enum { SHAPES = sizeof shapes / sizeof *shapes, MASKS = 5, ALIGN = 64 };

typedef struct figures {
    uint32_t batch, time, span, heads, kv, dim, q, k; /* q, k: words of tensors, rounded up */
} figures;

static figures of(uint32_t i, uint32_t batch)
{
    const uint32_t *n = shapes[i];
    figures f = {batch, n[0], n[1], n[2], n[3], n[4], 0, 0};
    f.q = (uint32_t)dart_round_up((uint64_t)batch * f.time * f.heads * f.dim, ALIGN);
    f.k = (uint32_t)dart_round_up((uint64_t)batch * f.span * f.kv * f.dim, ALIGN);
    return f;
}

void dart_suite_cases_attention(suite *s)
{
    static const char *const names[] = {
        "full", "causal", "lengths", "causal, lengths", "documents"};
    for (uint32_t i = 0; i < SHAPES * MASKS * 2; i++) {
        const uint32_t kind = i / 2 % MASKS, batch = i % 2 ? 3 : 1;
        const figures f = of(i / 2 / MASKS, batch);
        const bool causal = kind == 1 || kind >= 3, large = i % 4 == 3;
        const uint32_t mask = kind == 4 ? 2 : kind >= 2;
        attention_params p = {batch, f.time, f.span, f.heads, f.kv, f.dim, 0, f.q, f.q + f.k,
            causal, mask, (large ? 3.0f : 1.0f) / sqrtf((float)f.dim)};
        if (i % 3 == 0) { /* in another order */
            p.v_at = 0;
            p.q_at = f.k;
            p.k_at = f.k + f.q;
        }
        dart_suite_case(s, DART_K_attention, &p, SUITE_SOFTMAX,
            "%s, %u x %u x %u queries of %u, %u x %u keys%s", names[kind], batch, f.time, f.heads,
            f.dim, f.span, f.kv, large ? ", large scores" : "");
        dart_suite_normal(s, (uint64_t)f.q + 2 * (uint64_t)f.k, 0.1, large ? 8 : 1);
        const uint32_t numbers = mask == 0 ? 1 : mask == 1 ? batch : batch * f.time;
        int32_t *number = dart_suite_integers(s, numbers);
        for (uint32_t n = 0, begin = 0; n < numbers && mask == 2; n++) {
            const uint32_t t = n % f.time;
            if (!t || !dart_suite_random(s, 9)) begin = t + f.span - f.time;
            number[n] = (int32_t)(dart_suite_random(s, 40) ? begin : t + f.span - f.time + 1);
        }
        for (uint32_t n = 0; n < numbers && mask == 1; n++)
            number[n] = (int32_t)dart_suite_random(s, f.span + 1);
        if (mask == 1) number[numbers - 1] = (int32_t)f.span + (int32_t)(i % 5) - 2; /* -1: none */
        if (mask == 1 && batch > 1) number[0] = 0;
        if (mask == 2 && f.time > 2) number[f.time / 2] = -3;
        dart_suite_output(s, (uint64_t)batch * f.time * f.heads * f.dim);
        dart_suite_output(s, (uint64_t)batch * f.time * f.heads * 4);
        dart_suite_compare(s, 4, 2);
        dart_suite_done(s);
    }
}

/* The numbers of an attention's queries, some of which see only some keys, or none. */
static void rows_of(const attention_dx_params *p, const float *qkv, bool causal, float *rows)
{
    for (uint32_t n = 0; n < p->batch * p->time * p->heads; n++, rows += 4) {
        const uint32_t h = n % p->heads, t = n / p->heads % p->time, b = n / p->heads / p->time;
        const uint32_t end = causal ? t + 1 + p->span - p->time : n % 11 == 5 ? 0 : p->span;
        const uint32_t from = causal && t % 7 == 6 ? end / 2 : 0;
        double most = -INFINITY, sum = 0;
        for (int pass = 0; pass < 2; pass++)
            for (uint32_t j = from; j < end; j++) {
                const float *q = qkv + p->q_at + (uint64_t)n * p->dim;
                const float *k =
                    qkv + p->k_at +
                    ((uint64_t)(b * p->span + j) * p->kv + h / (p->heads / p->kv)) * p->dim;
                double score = 0;
                for (uint32_t d = 0; d < p->dim; d++) score += (double)q[d] * (double)k[d];
                score *= (double)p->scale;
                if (!pass) most = fmax(most, score);
                if (pass) sum += exp(score - most);
            }
        rows[0] = end > from ? (float)most : 0;
        rows[1] = end > from ? (float)(1 / sum) : 0;
        rows[2] = (float)from;
        rows[3] = (float)end;
    }
}

void dart_suite_cases_attention_dx(suite *s)
{
    for (uint32_t i = 0; i < SHAPES * 4; i++) {
        const bool causal = i & 1;
        const uint32_t part = i / 2 % 2, batch = i / 4 % 3 == 1 ? 2 : 1;
        const figures f = of(i / 4, batch);
        const uint32_t queries = batch * f.time * f.heads;
        const attention_dx_params p = {batch, f.time, f.span, f.heads, f.kv, f.dim, 0, f.q,
            f.q + f.k, f.q, f.q + f.k, f.q + 2 * f.k, 1 / sqrtf((float)f.dim)};
        dart_suite_case(s, DART_K_attention_dx, &p, SUITE_GRADIENT,
            "of %s, %s, %u x %u x %u queries of %u, %u x %u keys", part ? "keys" : "queries",
            causal ? "causal" : "full", batch, f.time, f.heads, f.dim, f.span, f.kv);
        dart_suite_mode(s, "PART", part);
        const float *qkv = dart_suite_normal(s, (uint64_t)f.q + 2 * (uint64_t)f.k, 0.1, 1);
        float *y = dart_suite_normal(s, (uint64_t)f.q + 4 * (uint64_t)queries, 0, 1);
        rows_of(&p, qkv, causal, y + f.q);
        dart_suite_normal(s, (uint64_t)queries * f.dim, 0.1, 1);
        dart_suite_normal(s, (uint64_t)f.q + 2 * (uint64_t)f.k + queries, 0, 0.01);
        dart_suite_done(s);
    }
}
