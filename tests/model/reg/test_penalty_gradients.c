/* Gradients of penalties: finite differences, the meaning of lambda, and svt beside them. */
#include "penalty_lab.h"

/* Gradients of the graph against differences of the oracles, with what smoothing adds held. */
static void gradients_match_differences(void **state)
{
    (void)state;
    int compared = 0;
    for (uint32_t index = 0; reg_at(index); index++)
        for (uint32_t v = 0; v < VARIANTS; v++) {
            lab l;
            lab_open(&l);
            const dart_reg *reg = reg_at(index);
            const penalty_options o = variant_of(reg, v);
            const dart_options options = penalty_values(reg, &o);
            dart_node keep[16], grads[4], total = 0;
            uint32_t keeps = 0;
            for (uint32_t s = 0; s < l.stacks; s++) {
                dart_node value =
                    dart_sum_all(l.graph, reg->penalty(l.graph, &l.stack[s], &options));
                total = total ? dart_add(l.graph, total, value) : value;
            }
            ok(dart_graph_check(l.graph));
            for (uint32_t s = 0; s < l.stacks; s++) {
                ok(dart_grad(l.graph, total, l.stack[s].cores, l.stack[s].core, grads));
                for (uint32_t k = 0; k < l.stack[s].cores; k++) keep[keeps++] = grads[k];
            }
            ir_run run;
            ok(ir_prepare(&run, device, l.graph, &l.data, keeps, keep));
            ok(dart_exec_run(run.exec, NULL));
            for (uint32_t s = 0, i = 0; s < l.stacks; s++)
                for (uint32_t k = 0; k < l.stack[s].cores; k++, i++) {
                    double *gradient = calloc(run.keep_words[i], sizeof(double));
                    ok(ir_read(&run, i, gradient));
                    for (uint64_t e = 0; e < run.keep_words[i]; e += 3, compared++) {
                        uint32_t z = (uint32_t)(e / l.words[s][k]);
                        double *at = core_of(&l, s, z, k) + e % l.words[s][k];
                        double saved = *at, value[2];
                        held h = {0};
                        oracle(&l, reg, &o, s, z, &h);
                        for (int side = 0; side < 2; side++) {
                            *at = saved + (side ? -1e-5 : 1e-5);
                            value[side] = oracle(&l, reg, &o, s, z, &h);
                        }
                        *at = saved;
                        double difference = (value[0] - value[1]) / 2e-5;
                        if (fabs(difference - gradient[e]) > 1e-6 + 1e-5 * fabs(difference))
                            fail_msg("%s stack %u core %u entry %llu: gradient %g, difference %g",
                                reg->name, s, k, (unsigned long long)e, gradient[e], difference);
                    }
                    free(gradient);
                }
            ir_run_free(&run);
            lab_close(&l);
        }
    print_message("penalties: %d gradient entries compared\n", compared);
    assert_true(compared >= 1500);
}

/* What the trainer applies, whatever the penalty: each core's gradient has the same root mean
 * square whatever its scale, by the price of its bonds if asked for, and points downhill; a chain
 * of zeros gives zeros, not NaN. */
static void every_core_is_pushed_alike(void **state)
{
    (void)state;
    for (uint32_t index = 0; reg_at(index); index++)
        for (int price = 0; price < 2; price++) {
            const dart_reg *reg = reg_at(index);
            lab l;
            lab_open(&l);
            for (uint64_t i = 0; i < l.words[1][0]; i++) core_of(&l, 1, 0, 0)[i] *= 1e-4;
            for (uint64_t i = 0; i < l.words[2][0]; i++) core_of(&l, 2, 0, 0)[i] = 0; /* LoRA's B */
            dart_node value;
            ir_run run;
            double mean, sum = 0, prices = 0, bonds = 0, push[MAX_STACKS][4];
            penalty_options o = {.mu = 0, .p = 0.5, .price = price};
            const dart_options options = penalty_values(reg, &o);
            ok(dart_penalty_append(l.graph, reg, &options, l.stacks, l.stack, NULL, &value));
            ok(ir_prepare(&run, device, l.graph, &l.data, 1, &value));
            ok(dart_exec_run(run.exec, NULL));
            ok(ir_read(&run, 0, &mean));
            ok(ir_read_region(&run, DART_REGION_PENALTY, l.data.region[DART_REGION_PENALTY]));
            ir_run_free(&run);
            for (uint32_t s = 0; s < l.stacks; s++)
                for (uint32_t k = 0; k < l.stack[s].cores; k++) {
                    const uint32_t *n = l.n[s], *r = l.rank[s];
                    double left = k ? n[k - 1] * r[k - 1] + n[k] * r[k + 1] : 0, right = 0;
                    if (k + 1 < l.stack[s].cores) {
                        right = n[k] * r[k] + n[k + 1] * r[k + 2];
                        prices += l.stack[s].count * right;
                        bonds += l.stack[s].count;
                    }
                    push[s][k] = left > 0 && right > 0 ? 0.5 * (left + right) : left + right;
                }
            o.mu = reg->mu;
            for (uint32_t s = 0; s < l.stacks; s++)
                for (uint32_t z = 0; z < l.stack[s].count; z++) {
                    for (uint32_t k = 0; k < l.stack[s].cores; k++) {
                        double dot = 0, square = 0;
                        for (uint64_t i = 0; i < l.words[s][k]; i++) {
                            double g = gradient_of(&l, s, z, k)[i];
                            assert_true(isfinite(g));
                            dot += core_of(&l, s, z, k)[i] * g;
                            square += g * g;
                        }
                        double rms = DART_PENALTY_PUSH;
                        if (price) rms *= push[s][k] / (prices / bonds);
                        if (s == 2 && k == 0)
                            assert_true(square == 0.0);
                        else if (s != 2) {
                            expect_near(sqrt(square / (double)l.words[s][k]), rms, 1e-6);
                            assert_true(dot > 0);
                        }
                    }
                    sum += oracle(&l, reg, &o, s, z, NULL);
                }
            expect_near(mean, sum / 4, 1e-6);
            lab_close(&l);
        }
}

/* svt pulls on ||W||_* as the step of bond-nuclear does, where both sides are balanced: the same
 * lambda takes the same part of it. */
static void svt_pulls_as_the_nuclear_norm(void **state)
{
    (void)state;
    const double strength = 1e-4;
    lab l;
    dart_node value;
    ir_run run;
    double *sigma[DART_CHAIN_MAX], sum[3] = {0};
    lab_open(&l);
    dart_chain pair = chain_of(&l, 2, 0);
    ok(dart_chain_cut(&pair, pair.rank + 1)); /* balanced */
    for (uint32_t k = 0; k < 2; k++)
        memcpy(core_of(&l, 2, 0, k), pair.core[k], l.words[2][k] * sizeof(double));
    const dart_reg *nuclear = dart_reg_find("bond-nuclear");
    const dart_options options = penalty_values(nuclear, &(penalty_options){.mu = 1e-9});
    ok(dart_penalty_append(l.graph, nuclear, &options, l.stacks, l.stack, NULL, &value));
    ok(ir_prepare(&run, device, l.graph, &l.data, 1, &value));
    ok(dart_exec_run(run.exec, NULL));
    ok(ir_read_region(&run, DART_REGION_PENALTY, l.data.region[DART_REGION_PENALTY]));
    ir_run_free(&run);
    for (int which = 0; which < 3; which++) {
        dart_chain c;
        ok(dart_chain_copy(&pair, &c));
        if (which == 1) ok(dart_reg_find("svt")->prox(&c, strength));
        for (uint32_t k = 0; which == 2 && k < 2; k++)
            for (uint64_t i = 0; i < l.words[2][k]; i++)
                c.core[k][i] -= strength * gradient_of(&l, 2, 0, k)[i];
        ok(dart_chain_spectra(&c, sigma));
        for (uint32_t j = 0; j < c.rank[1]; j++) sum[which] += sigma[0][j];
        free(sigma[0]);
        dart_chain_free(&c);
    }
    assert_true(sum[1] < sum[0]);
    expect_near((sum[0] - sum[1]) / (sum[0] - sum[2]), 1, 1e-2);
    dart_chain_free(&pair);
    lab_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_match_differences),
        cmocka_unit_test(every_core_is_pushed_alike),
        cmocka_unit_test(svt_pulls_as_the_nuclear_norm)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
