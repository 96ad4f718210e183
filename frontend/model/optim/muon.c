/* muon: the momentum of a matrix, orthogonalised by Newton-Schulz steps (Jordan et al. 2024), for
 * the matrices of a span; AdamW for all else. An orthogonal step of r x c has root mean square
 * 1 / sqrt(max(r, c)), so it is multiplied by muon_scale sqrt(max(r, c)): 0.2 makes it as large as
 * AdamW's steps are, and one learning rate serves both (Liu et al. 2025). */
#include "table.h"
#include <math.h>

static const dart_option_row momentum_row = {.key = "muon_momentum",
    .section = "train",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.95",
    .most = 0.9999,
    .help = "muon: decay of the momentum of matrices",
    .baked = true};
static const dart_option_row nesterov_row = {.key = "muon_nesterov",
    .section = "train",
    .kind = DART_OPTION_BOOL,
    .fallback = "true",
    .help = "muon: the momentum looks one step ahead",
    .baked = true};
static const dart_option_row steps_row = {.key = "muon_steps",
    .section = "train",
    .kind = DART_OPTION_INT,
    .fallback = "5",
    .least = 1,
    .most = 20,
    .help = "muon: Newton-Schulz iterations of a step",
    .baked = true};
static const dart_option_row scale_row = {.key = "muon_scale",
    .section = "train",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.2",
    .most = 1e3,
    .help = "muon: root mean square of a matrix's step in learning rates",
    .baked = true};
static const dart_option_row *const option_rows[] = {&momentum_row, &nesterov_row, &steps_row,
    &scale_row, &dart_row_beta1, &dart_row_beta2, &dart_row_adam_eps, &dart_row_weight_decay, NULL};

/* x (count, rows, columns): each matrix's singular values go to about 1 by x <- (a + b S + c S^2) x
 * with S = x x^T, or x^T x where that is the smaller one. The coefficients are the published ones:
 * steepest at 0, and what is near 1 ends between 0.7 and 1.2. */
static dart_node orthogonalise(dart_graph *graph, dart_node x, bool tall, int steps)
{
    const double a = 3.4445, b = -4.7750, c = 2.0315;
    dart_node norm =
        dart_map1(graph, DART_OP_sqrt, dart_contract2(graph, "zij,zij->z", x, x), 0, 0);
    const dart_node_info *info = norm ? dart_node_get(graph, norm) : NULL;
    if (!info) return 0;
    dart_node one = dart_fill(graph, info->shape, 1.0);
    dart_node inverse =
        dart_map2(graph, DART_OP_div, one, dart_affine(graph, norm, 1.0, 1e-7), 0, 0);
    x = dart_contract2(graph, "zij,z->zij", x, inverse);
    for (int k = 0; k < steps; k++) {
        dart_node s = dart_contract2(graph, tall ? "zij,zik->zjk" : "zij,zkj->zik", x, x);
        dart_node square = dart_contract2(graph, "zij,zjk->zik", s, s);
        dart_node p = dart_map2(graph, DART_OP_axpby, s, square, b, c);
        dart_node px = tall ? dart_contract2(graph, "zij,zjk->zik", x, p)
                            : dart_contract2(graph, "zij,zjk->zik", p, x);
        x = dart_map2(graph, DART_OP_axpby, x, px, a, 1.0);
    }
    return x;
}

/* The new momentum of [start, end) into MOMENT; returns what is to be orthogonalised. */
static dart_node momentum(dart_graph *graph, const dart_optim_leaves *leaves, uint64_t start,
    uint64_t end, const dart_options *options)
{
    const double decay = dart_options_get(options, &momentum_row);
    dart_node moment = dart_optim_leaf(graph, "momentum", DART_REGION_MOMENT, start, end);
    dart_node grad = dart_mul(graph, dart_optim_leaf(graph, "grad", DART_REGION_GRAD, start, end),
        dart_optim_scalar(graph, leaves, DART_FSCAL_MULTIPLIER));
    dart_node next = dart_map2(graph, DART_OP_axpby, moment, grad, decay, 1 - decay);
    dart_store(graph, moment, next);
    if (dart_options_get(options, &nesterov_row) == 0) return next;
    return dart_map2(graph, DART_OP_axpby, grad, next, 1 - decay, decay);
}

static void step_stack(dart_graph *graph, const dart_optim_leaves *leaves, const dart_matrices *m,
    dart_node update, const dart_options *options)
{
    const uint32_t words = m->count * m->rows * m->columns;
    const uint32_t longest = m->rows > m->columns ? m->rows : m->columns;
    dart_node x = dart_reshape(graph, update, DART_SHAPE(m->count, m->rows, m->columns));
    x = orthogonalise(graph, x, m->rows > m->columns, (int)dart_options_get(options, &steps_row));
    dart_node param =
        dart_optim_leaf(graph, "param", DART_REGION_PARAM, m->offset, m->offset + words);
    /* the decoupled decay goes with the step: p -= rate (scale x + decay p) */
    dart_node whole = dart_map2(graph, DART_OP_axpby, dart_reshape(graph, x, DART_SHAPE(words)),
        param, dart_options_get(options, &scale_row) * sqrt(longest),
        dart_options_get(options, &dart_row_weight_decay));
    dart_axpy_scalar(graph, param, whole, leaves->block, DART_FSCAL_RATE, -1.0);
}

static dart_status append(
    dart_graph *graph, const dart_optim_span *span, const dart_options *options)
{
    dart_optim_leaves leaves;
    DART_TRY(dart_optim_begin(graph, "muon", span, 2, &leaves));
    uint64_t at = 0; /* all before it are done */
    for (uint32_t first = 0, end; first < span->matrices; first = end) {
        const dart_matrices *m = span->matrix;
        /* stacks without other tensors between them have one momentum */
        uint64_t start = m[first].offset, last = start;
        for (end = first; end < span->matrices && m[end].offset - last < DART_OPTIM_ALIGN; end++)
            last = m[end].offset + (uint64_t)m[end].count * m[end].rows * m[end].columns;
        dart_optim_adamw(graph, &leaves, span, at, start, options);
        dart_node update = momentum(graph, &leaves, start, last, options);
        for (uint32_t k = first; k < end; k++)
            step_stack(graph, &leaves, &m[k],
                dart_slice_rows(graph, update, (uint32_t)(m[k].offset - start),
                    m[k].count * m[k].rows * m[k].columns),
                options);
        at = dart_round_up(last, DART_OPTIM_ALIGN);
    }
    dart_optim_adamw(graph, &leaves, span, at, span->param_words, options);
    return dart_graph_check(graph);
}

const dart_optim dart_optims_muon = {.name = "muon",
    .help =
        "orthogonalised momentum for matrices and cores, AdamW for embeddings, heads and vectors",
    .states = 2,
    .state = {{"first.", false}, {"second.", true}},
    .append = append,
    .entries = dart_optim_entries,
    .block = dart_optim_block,
    .options = option_rows};
