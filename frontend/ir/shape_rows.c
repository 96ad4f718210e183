/* Shapes of ops that work on rows: norms, look-ups, attention over a cache, softmax, dropout,
 * cross-entropy. */
#include "shape_rules.h"

dart_status dart_infer_norm(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    for (uint32_t i = 1; i < 3; i++) {
        const dart_shape *w = in_shape(graph, info, i);
        EXPECT(
            w->rank == 1 && x->rank >= 1 && w->dim[0] == last_dim(x), "x (..., C), w (C), b (C)");
    }
    EXPECT(info->ints == 1 && info->floats == 1, "kind and eps");
    info->shape = *x;
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_norm_dx(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0), *w = in_shape(graph, info, 1);
    EXPECT(x->rank >= 1 && w->rank == 1 && w->dim[0] == last_dim(x) &&
               dart_shape_equal(x, in_shape(graph, info, 2)),
        "x (..., C), w (C), dy as x");
    info->shape = *x;
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_norm_dw(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    EXPECT(x->rank >= 1 && dart_shape_equal(x, in_shape(graph, info, 1)), "x and dy alike");
    info->shape = DART_SHAPE(2, last_dim(x));
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_gather(const dart_graph *graph, dart_node_info *info)
{
    const dart_node_info *w = in_node(graph, info, 0), *ids = in_node(graph, info, 1),
                         *index = info->inputs > 2 ? in_node(graph, info, 2) : NULL;
    EXPECT(w->shape.rank == 2 && ids->dtype == DART_I32 && ids->shape.rank < DART_MAX_RANK,
        "w (V,C), ids i32 (...)");
    EXPECT(!index || (index->dtype == DART_I32 &&
                         dart_shape_words(&index->shape) ==
                             (uint64_t)w->shape.dim[0] + 1 + dart_shape_words(&ids->shape)),
        "w (V,C), ids i32 (...), index i32 (V + 1 + ids)");
    info->shape = ids->shape;
    info->shape.dim[info->shape.rank++] = w->shape.dim[1];
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_scatter(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *dy = in_shape(graph, info, 0), *index = in_shape(graph, info, 1);
    EXPECT(dy->rank >= 1 && info->ints == 1 && info->i[0] >= 0, "dy (..., C), index, vocabulary");
    uint64_t rows = last_dim(dy) ? dart_shape_words(dy) / last_dim(dy) : 0;
    EXPECT(dart_shape_words(index) == (uint64_t)info->i[0] + 1 + rows, "index of V + 1 + rows");
    EXPECT(info->inputs < 3 || (in_node(graph, info, 2)->dtype == DART_I32 &&
                                   dart_shape_words(in_shape(graph, info, 2)) == rows),
        "an id a row");
    info->shape = DART_SHAPE((uint32_t)info->i[0], last_dim(dy));
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_rope(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0), *table = in_shape(graph, info, 1);
    EXPECT(x->rank == 4 && x->dim[3] % 2 == 0 && table->rank == 3 && table->dim[0] >= x->dim[1] &&
               table->dim[1] == x->dim[3] / 2 && table->dim[2] == 2,
        "x (B,T,H,D) with even D, table (>= T, D/2, 2)");
    info->shape = *x;
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_cache_write(const dart_graph *graph, dart_node_info *info)
{
    const dart_node_info *cache = in_node(graph, info, 0), *at = in_node(graph, info, 3);
    EXPECT(cache->op == DART_OP_leaf && cache->shape.rank >= 3 && cache->shape.dim[0] == 2 &&
               dart_shape_words(&cache->shape) && at->dtype == DART_I32,
        "a cache leaf (2,B,S,...), k, v, an i32 leaf");
    uint64_t words = dart_shape_words(in_shape(graph, info, 1));
    uint64_t step = dart_shape_words(&cache->shape) / 2 / cache->shape.dim[2]; /* B rows */
    EXPECT(words == dart_shape_words(in_shape(graph, info, 2)) && words && words % step == 0 &&
               words / step <= cache->shape.dim[2],
        "k and v (B,T,...) with T <= S for a cache (2,B,S,...)");
    info->shape = cache->shape;
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_attend(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *q = in_shape(graph, info, 0), *cache = in_shape(graph, info, 1);
    EXPECT(q->rank == 4 && cache->rank == 5 && cache->dim[0] == 2 && cache->dim[1] == q->dim[0] &&
               cache->dim[2] >= q->dim[1] && cache->dim[4] == q->dim[3] && cache->dim[3] &&
               q->dim[2] % cache->dim[3] == 0 && in_node(graph, info, 2)->dtype == DART_I32 &&
               info->floats == 1,
        "q (B,T,H,D), cache (2,B,S >= T,H',D) with H' dividing H, an i32 leaf");
    info->shape = *q;
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_softmax(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    EXPECT(x->rank >= 1 && info->ints == 1 && info->floats == 1, "x (..., S)");
    EXPECT(!info->i[0] || (x->rank >= 2 && x->dim[x->rank - 1] >= x->dim[x->rank - 2]),
        "x (..., T, S) with S >= T for a causal mask");
    if (info->i[0] == 2) {
        const dart_node_info *starts = in_node(graph, info, 1);
        const dart_shape *s = &starts->shape;
        EXPECT(info->inputs == 2 && starts->dtype == DART_I32 && x->rank >= 3 && s->rank == 2 &&
                   s->dim[0] == x->dim[0] && s->dim[1] == x->dim[x->rank - 2],
            "starts i32 (B,T) for x (B,...,T,S)");
    } else if (info->inputs > 1) {
        const dart_node_info *lengths = in_node(graph, info, 1);
        uint64_t rows = last_dim(x) ? dart_shape_words(x) / last_dim(x) : 0;
        uint64_t n = dart_shape_words(&lengths->shape);
        EXPECT(lengths->dtype == DART_I32 && n && rows % n == 0,
            "lengths i32 (n), n a divisor of the rows of x");
    }
    info->shape = *x;
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_softmax_dx(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(dart_shape_equal(in_shape(graph, info, 0), in_shape(graph, info, 1)), "y and dy alike");
    info->shape = *in_shape(graph, info, 0);
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_dropout(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(in_node(graph, info, 1)->dtype == DART_I32 && info->floats == 1 && info->f[0] >= 0 &&
               info->f[0] < 1,
        "x, the i32 step block, and a rate in [0, 1)");
    info->shape = *in_shape(graph, info, 0);
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_uniform(const dart_graph *graph, dart_node_info *info)
{
    EXPECT(in_node(graph, info, 0)->dtype == DART_I32 && info->ints == 2 && info->i[1] > 0 &&
               info->i[1] <= UINT32_MAX,
        "the i32 step block, a stream and a count");
    info->shape = DART_SHAPE((uint32_t)info->i[1]);
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_cross_entropy(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    const dart_node_info *labels = in_node(graph, info, 1);
    EXPECT(x->rank == 2 && labels->dtype == DART_I32 &&
               dart_shape_words(&labels->shape) == x->dim[0] && info->i[0] > 0 &&
               info->i[0] <= x->dim[1] && (info->i[1] == 0 || info->i[1] == 1) && info->f[0] >= 0 &&
               info->f[0] < 1,
        "logits (R,V), labels i32 (R), 0 < valid <= V, ranked 0 or 1, smoothing in [0, 1)");
    info->shape = DART_SHAPE(info->i[1] ? 3 : 2, x->dim[0]);
    info->dtype = DART_F32;
    return DART_OK;
}

dart_status dart_infer_cross_entropy_dx(const dart_graph *graph, dart_node_info *info)
{
    const dart_shape *x = in_shape(graph, info, 0);
    EXPECT(x->rank == 2 && dart_shape_words(in_shape(graph, info, 1)) == 2ull * x->dim[0] &&
               dart_shape_words(in_shape(graph, info, 2)) == x->dim[0] && info->i[0] > 0 &&
               info->i[0] <= x->dim[1] && info->f[1] >= 0 && info->f[1] < 1,
        "logits (R,V), stats (2,R), labels (R), 0 < valid <= V, smoothing in [0, 1)");
    info->shape = *x;
    info->dtype = DART_F32;
    return DART_OK;
}
