/* Training of the students and what the rules then choose, as one table, penalty by rule: in how
 * many of ten seeds the chosen ranks are exactly the teacher's. In f32 on the cpu device, one
 * recorded step: loss, gradients, penalty, AdamW and the decoupled penalty step. */
#ifndef DART_TEST_PLANTED_TABLE_H
#define DART_TEST_PLANTED_TABLE_H

#include "planted_students.h"

typedef struct rule_row {
    const char *name;
    rule_options options;
    bool size; /* is told the teacher's size, and needs no penalty to find the ranks */
} rule_row;

static const rule_row rules[] = {{"threshold", {.delta = 0.1}, false},
    {"energy", {.energy = 0.985}, false}, {"tail-norm", {.epsilon = 0.2}, false},
    {"budget", {0}, true}, {"gates", {0}, false}};
enum { RULES = sizeof rules / sizeof *rules, GATES = RULES - 1 /* its own counts, where it has */ };

/* `from`: cores to start with, NULL for random ones. */
static inline void open_students(
    students *s, const teacher *t, const penalty_row *how, const students *from)
{
    const dart_reg *reg = how->name ? dart_reg_find(how->name) : NULL;
    dart_node grads[CORES + 1], value, leaf[CORES + 1];
    dart_chain_stack stack = {.count = SEEDS, .cores = CORES};
    memset(s, 0, sizeof *s);
    ok(dart_graph_new(&s->graph));
    s->gate = from && reg ? reg->gate : NULL;
    for (uint64_t seed = 0; s->gate && how->sized && seed < SEEDS; seed++)
        s->target += (double)dart_chain_words(&t[seed].chain) / (full * SEEDS);
    for (uint32_t k = 0; k <= CORES; k++) s->rank[k] = k && k < CORES ? RANK : 1;
    for (uint32_t k = 0; k < CORES; k++) {
        dart_shape shape = DART_SHAPE(SEEDS, s->rank[k], N, s->rank[k + 1]);
        s->words[k] = dart_shape_words(&shape) / SEEDS;
        s->offset[k] = s->total;
        s->total += dart_round_up(SEEDS * s->words[k], 64);
        stack.core[k] =
            dart_leaf(s->graph, "core", DART_F32, shape, DART_REGION_PARAM, s->offset[k]);
        stack.gradient[k] =
            dart_leaf(s->graph, "penalty", DART_F32, shape, DART_REGION_PENALTY, s->offset[k]);
    }
    const uint64_t gates = s->gate ? dart_round_up(GATE_WORDS, 64) : 0,
                   all_words = s->total + gates;
    const int regions[] = {DART_REGION_PARAM, DART_REGION_GRAD, DART_REGION_PENALTY,
        DART_REGION_MOMENT, DART_REGION_FROZEN, DART_REGION_FSCAL, DART_REGION_ISCAL,
        DART_REGION_TABLE};
    const uint64_t words[] = {all_words, all_words, s->total, 2 * all_words,
        2 * SEEDS * WORDS + GATE_WORDS, DART_FSCAL_WORDS, 16, 2 * GATE_WORDS + RANK * RANK};
    for (int r = 0; r < 8; r++) {
        s->data.words[regions[r]] = words[r];
        s->data.region[regions[r]] = calloc(words[r], sizeof(double));
    }
    double *seen = s->data.region[DART_REGION_FROZEN], *mask = seen + SEEDS * WORDS;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        /* the same std for all cores, entries of W of variance 1 */
        double std = pow(RANK * RANK * RANK, -0.5 / CORES);
        for (uint32_t k = 0; k < CORES; k++)
            for (uint64_t i = 0; i < s->words[k]; i++)
                s->data.region[DART_REGION_PARAM][s->offset[k] + seed * s->words[k] + i] =
                    std * dart_normal(seed, DART_STREAM_INIT + 100 * k, i);
        for (uint64_t i = 0; i < WORDS; i++) {
            seen[seed * WORDS + i] =
                t[seed].dense[i] + noise * dart_normal(seed, DART_STREAM_TEST + 51, i);
            mask[seed * WORDS + i] = dart_uniform(seed, DART_STREAM_TEST + 50, i) < observed;
        }
    }
    for (uint32_t i = 0; i < GATE_WORDS; i++) {
        s->data.region[DART_REGION_TABLE][i] = i / RANK % SLOT < SEEDS;
        s->data.region[DART_REGION_TABLE][GATE_WORDS + i] = i % RANK + 1;
        s->data.region[DART_REGION_TABLE][2 * GATE_WORDS + i % (RANK * RANK)] =
            i % RANK >= i / RANK % RANK;
    }
    if (from) start_gates(s, from);
    dart_shape all = DART_SHAPE(SEEDS, N, N, N, N);
    dart_node target = dart_leaf(s->graph, "target", DART_F32, all, DART_REGION_FROZEN, 0);
    dart_node visible =
        dart_leaf(s->graph, "visible", DART_F32, all, DART_REGION_FROZEN, SEEDS * WORDS);
    memcpy(leaf, stack.core, sizeof stack.core[0] * CORES);
    dart_node cost = s->gate ? add_gates(s, how->lambda, stack.core) : 0;
    dart_node w = dart_contract(s->graph, "zaib,zbjc,zckd,zdle->zijkl", CORES, stack.core);
    dart_node error = dart_mul(s->graph, dart_sub(s->graph, w, target), visible);
    s->loss = dart_affine(s->graph, dart_sumsq_all(s->graph, error), 1.0 / (observed * WORDS), 0.0);
    if (cost) s->loss = dart_add(s->graph, s->loss, cost);
    leaf[CORES] = s->gate_param;
    ok(dart_grad(s->graph, s->loss, s->gate ? CORES + 1 : CORES, leaf, grads));
    for (uint32_t k = 0; k < CORES + (s->gate != NULL); k++)
        dart_store(s->graph,
            dart_leaf(s->graph, "grad", DART_F32, dart_node_get(s->graph, leaf[k])->shape,
                DART_REGION_GRAD, k < CORES ? s->offset[k] : s->total),
            grads[k]);
    if (reg && reg->penalty) {
        const dart_options options = penalty_values(reg, &how->options);
        ok(dart_penalty_append(s->graph, reg, &options, 1, &stack, NULL, &value));
    }
    const dart_options adamw = adamw_values(0.9, 0.95, 1e-8, 0.0);
    const dart_optim_span span = {
        .param_words = s->total, .decay_words = s->total, .others = gates};
    ok(dart_optim_find("adamw")->append(s->graph, &span, &adamw));
    if (s->gate) {
        dart_shape flat = DART_SHAPE(GATE_WORDS), two = DART_SHAPE(2, (uint32_t)all_words);
        dart_node param = dart_leaf(s->graph, "g", DART_F32, flat, DART_REGION_PARAM, s->total);
        dart_node grad = dart_leaf(s->graph, "grad", DART_F32, flat, DART_REGION_GRAD, s->total);
        dart_node valid = dart_leaf(s->graph, "valid", DART_F32, flat, DART_REGION_TABLE, 0);
        if (s->gate->driven)
            grad = dart_gate_push(s->graph, grad, valid, scalar_leaf(s, "push", DART_FSCAL_PUSH));
        dart_optim_find("adamw")->entries(s->graph, param, grad,
            dart_leaf(s->graph, "moment", DART_F32, two, DART_REGION_MOMENT, 0),
            dart_leaf(s->graph, "block", DART_F32, DART_SHAPE(DART_FSCAL_BLOCK), DART_REGION_FSCAL,
                DART_FSCAL_GATES),
            &adamw);
        double least = s->gate->least, most = s->gate->most;
        if (least < most)
            dart_store(s->graph, param, dart_map1(s->graph, DART_OP_clamp, param, most, least));
    }
    dart_shape flat = DART_SHAPE((uint32_t)s->total);
    dart_axpy_scalar(s->graph, dart_leaf(s->graph, "param", DART_F32, flat, DART_REGION_PARAM, 0),
        dart_leaf(s->graph, "penalty", DART_F32, flat, DART_REGION_PENALTY, 0),
        dart_leaf(s->graph, "fscal", DART_F32, DART_SHAPE(DART_FSCAL_BLOCK), DART_REGION_FSCAL, 0),
        DART_FSCAL_PENALTY, -1.0);
    ok(dart_graph_check(s->graph));
    const dart_node keep[] = {s->loss, s->size};
    ok(ir_prepare(&s->run, device, s->graph, &s->data, s->gate ? 2 : 1, keep));
}

static inline void close_students(students *s)
{
    ir_run_free(&s->run);
    dart_graph_free(s->graph);
    for (int r = 0; r < DART_REGIONS; r++) free(s->data.region[r]);
}

static inline void read_students(students *s)
{
    ok(ir_read_region(&s->run, DART_REGION_PARAM, s->data.region[DART_REGION_PARAM]));
}

static inline void prox(students *s, const dart_reg *reg, double strength)
{
    read_students(s);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        dart_chain chain = chain_of(s, seed);
        ok(reg->prox(&chain, strength));
        for (uint32_t k = 0; k < CORES; k++)
            memcpy(s->data.region[DART_REGION_PARAM] + s->offset[k] + seed * s->words[k],
                chain.core[k], s->words[k] * sizeof(double));
        dart_chain_free(&chain);
    }
    ok(dart_device_write_f64(device, s->run.memory.buffer[DART_REGION_PARAM], 0, s->total,
        s->data.region[DART_REGION_PARAM]));
}

/* Steps first + 1 to last of how->steps. */
static inline void train(students *s, const penalty_row *how, int first, int last)
{
    const dart_reg *reg = how->name ? dart_reg_find(how->name) : NULL;
    for (int t = first + 1; t <= last; t++) {
        double left = (double)(how->steps - t + 1) / how->steps, lr = rate * left;
        double push = how->lambda * left * lr, n = t - first;
        dart_gate_scalars use = {.tau = fmax(0.2, 1 - 0.8 * (t - first) / (0.8 * (last - first)))};
        const dart_gate_options options = {
            .target = s->target, .values = dart_options_default(reg ? reg->options : NULL)};
        float fscal[DART_FSCAL_WORDS] = {[DART_FSCAL_RATE] = (float)lr,
            [DART_FSCAL_CORRECT1] = (float)(1 / (1 - pow(0.9, n))),
            [DART_FSCAL_CORRECT2] = (float)(1 / (1 - pow(0.95, n))),
            [DART_FSCAL_MICRO] = 1,
            [DART_FSCAL_PENALTY] = (float)push};
        if (s->gate) {
            const int32_t iscal[DART_ISCAL_WORDS] = {t, 5};
            float *gates = fscal + DART_FSCAL_GATES;
            gates[DART_FSCAL_RATE] = (float)(lr * s->gate->rate);
            gates[DART_FSCAL_CORRECT1] = fscal[DART_FSCAL_CORRECT1];
            gates[DART_FSCAL_CORRECT2] = fscal[DART_FSCAL_CORRECT2];
            gates[DART_FSCAL_MULTIPLIER] = 1; /* no clipping */
            if (s->target > 0)
                dart_gate_schedule(s->gate, &options, &s->state, (uint64_t)(last - first), &use);
            fscal[DART_FSCAL_TAU] = (float)use.tau;
            fscal[DART_FSCAL_L1] = (float)use.l1;
            fscal[DART_FSCAL_L2] = (float)use.l2;
            fscal[DART_FSCAL_TARGET] = (float)use.target;
            fscal[DART_FSCAL_PUSH] = (float)use.push;
            ok(dart_device_write_i32(
                device, s->run.memory.buffer[DART_REGION_ISCAL], 0, DART_ISCAL_WORDS, iscal));
        }
        ok(dart_device_write_f32(
            device, s->run.memory.buffer[DART_REGION_FSCAL], 0, DART_FSCAL_WORDS, fscal));
        ok(dart_exec_run(s->run.exec, NULL));
        if (s->target > 0) {
            double loss, size;
            ok(ir_read(&s->run, 0, &loss));
            ok(ir_read(&s->run, 1, &size));
            dart_gate_observe(s->gate, &options, &use, size, loss, &s->state);
        }
        if (reg && reg->prox && t % SVT_STEPS == 0) prox(s, reg, push * SVT_STEPS);
    }
    read_students(s);
}

static inline void choose(
    const dart_chain *chain, const teacher *t, const rule_row *rule, uint32_t *chosen)
{
    double *sigma[DART_CHAIN_MAX];
    dart_bond bond[CORES - 1];
    rule_options options = rule->options;
    if (rule->size) options.budget = (double)dart_chain_words(&t->chain);
    ok(dart_chain_spectra(chain, sigma));
    for (uint32_t k = 0; k < CORES - 1; k++)
        bond[k] =
            (dart_bond){0, k, RANK, sigma[k], N, N, (int)k - 1, k + 2 < CORES ? (int)k + 1 : -1};
    ok(rule_choose(dart_select_find(rule->name), bond, CORES - 1, &options, chosen));
    for (uint32_t k = 0; k < CORES - 1; k++) free(sigma[k]);
}

static inline double relative_error(const dart_chain *chain, const teacher *t)
{
    double *a, error = 0, power = 0;
    ok(dart_chain_dense(chain, &a));
    for (uint32_t i = 0; i < WORDS; i++) {
        error += (a[i] - t->dense[i]) * (a[i] - t->dense[i]);
        power += t->dense[i] * t->dense[i];
    }
    free(a);
    return sqrt(error / power);
}

typedef struct outcome {
    int found[RULES]; /* seeds whose ranks are the teacher's */
    double size;      /* expected when training ends, relative to the target */
    double error;     /* mean of ||W - W*|| / ||W*|| before the cut, over all entries */
} outcome;

static inline outcome run_row(const teacher *t, const penalty_row *how)
{
    students s, gated;
    outcome out = {0};
    open_students(&s, t, how, NULL);
    train(&s, how, 0, how->fit ? how->fit : how->steps);
    if (how->fit) {
        open_students(&gated, t, how, &s);
        train(&gated, how, how->fit, how->steps);
        close_students(&s);
        s = gated;
    }
    uint32_t counts[SEEDS][BONDS] = {{0}};
    if (s.gate) count_gates(&s, counts);
    if (s.target > 0) out.size = s.state.size / s.target;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        dart_chain chain = chain_of(&s, seed);
        uint32_t chosen[CORES - 1] = {0};
        if (s.gate) close_gates(&s, seed, &chain, counts[seed]);
        out.found[GATES] += memcmp(counts[seed], t[seed].rank + 1, sizeof counts[seed]) == 0;
        out.error += relative_error(&chain, &t[seed]) / SEEDS;
        for (int r = 0; r < GATES; r++) {
            choose(&chain, &t[seed], &rules[r], chosen);
            out.found[r] += memcmp(chosen, t[seed].rank + 1, sizeof chosen) == 0;
        }
        dart_chain_free(&chain);
    }
    close_students(&s);
    return out;
}

/* Prints and checks the rows; returns the number of recommended pairs of penalty and rule, all of
 * which found the ranks. */
static inline int planted_table(const penalty_row *rows, int count)
{
    teacher t[SEEDS];
    int pairs = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) t[seed] = make_teacher(seed);
    printf("| penalty | lambda | steps |");
    for (int r = 0; r < RULES; r++) printf(" %s |", rules[r].name);
    printf(" error of W |\n|---|---|---|");
    for (int r = 0; r <= RULES; r++) printf("---|");
    printf("\n");
    for (int p = 0; p < count; p++) {
        const penalty_row *how = &rows[p];
        outcome o = run_row(t, how);
        printf("| %s%s%s | %g | %d |", how->name ? how->name : "none",
            how->options.price ? " by price" : "", how->sized ? " to a size" : "", how->lambda,
            how->steps);
        const int columns = how->fit ? RULES : GATES;
        for (int r = 0; r < columns; r++) printf(" %d/%d |", o.found[r], SEEDS);
        if (!how->fit) printf(" - |");
        printf(" %.3f |%s", o.error, how->recommended ? "" : " not recommended");
        if (how->sized) printf(" trained to %.3f of the size", o.size);
        printf("\n");
        for (int r = 0; r < columns; r++) {
            if (!how->name && !rules[r].size) assert_true(2 * o.found[r] < SEEDS);
            if (!how->recommended) continue;
            assert_true(o.found[r] >= SEEDS - 1);
            pairs++;
        }
        if (how->recommended) assert_true(o.error < 0.2);
        /* training itself comes near the size; counting does the rest */
        if (how->sized) assert_true(fabs(o.size - 1) < 0.15);
    }
    printf("%d recommended pairs of penalty and rule\n", pairs);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        dart_chain_free(&t[seed].chain);
        free(t[seed].dense);
    }
    return pairs;
}

static inline int open_device(void **state)
{
    (void)state;
    return dart_device_open("cpu", NULL, &device) == DART_OK ? 0 : -1;
}

static inline int close_device(void **state)
{
    (void)state;
    dart_device_close(device);
    return 0;
}

#endif
