/* Programs for batches of short sentences or texts. Graphs are static, and most texts are much
 * shorter than the longest: a few programs, each for texts up to a part of the context, leave most
 * of the padding out. They share parameters and arena with the program of the full shape and give
 * the same step but for rounding, because nothing reads padding; only dropout draws other masks,
 * because its numbers are counted over the shape. */
#include "parts.h"
#include "parallel.h"
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    dart_model model; /* the session's, but with a shorter source; owns nothing */
    dart_graph_program part[DART_PARTS];
    uint32_t time;
} shape;

struct dart_shapes {
    uint32_t count, at; /* at: the shape of the batch in INPUT; count: the full one */
    shape *shape;       /* owned [count], from short to long */
    /* the batch without the padding that the shape saves: pairs of an encoder-decoder, or texts of
     * a classifier; arrays are owned but lengths and labels of texts */
    dart_pair_batch pairs;
    dart_batch texts;
    uint32_t *cursor; /* owned */
};

/* The session as the graphs of a shape see it. */
static dart_session view_of(const dart_session *session, const shape *s)
{
    dart_session view = *session;
    view.model = &s->model;
    view.options.time = s->time;
    return view;
}

static uint32_t part_of(uint32_t whole, uint32_t k, uint32_t n)
{
    uint32_t part = (uint32_t)(((uint64_t)whole * k + n - 1) / n);
    return part < 2 ? 2 : part;
}

static dart_status pairs_scratch(dart_shapes *shapes, const dart_session *session)
{
    const dart_model_config *c = &session->model->config;
    dart_pair_batch *p = &shapes->pairs;
    const size_t batch = session->options.batch;
    const size_t source = batch * c->source_context, target = batch * c->context;
    const uint32_t words = c->vocab > c->source_vocab ? c->vocab : c->source_vocab;
    p->source = dart_calloc(source, sizeof *p->source);
    p->target = dart_calloc(target, sizeof *p->target);
    p->labels = dart_calloc(target, sizeof *p->labels);
    p->source_index = dart_calloc(source + c->source_vocab + 1, sizeof *p->source_index);
    p->target_index = dart_calloc(target + c->vocab + 1, sizeof *p->target_index);
    shapes->cursor = dart_calloc(words, sizeof *shapes->cursor);
    return p->source && p->target && p->labels && p->source_index && p->target_index &&
                   shapes->cursor
               ? DART_OK
               : DART_MEMORY;
}

static dart_status texts_scratch(dart_shapes *shapes, const dart_session *session)
{
    const dart_model_config *c = &session->model->config;
    dart_batch *t = &shapes->texts;
    const size_t batch = session->options.batch, rows = batch * session->options.time;
    const size_t types = c->token_types + 1; /* a decoder has none */
    size_t words = c->vocab > rows ? c->vocab : rows;
    if (types > words) words = types;
    t->tokens = dart_calloc(rows, sizeof *t->tokens);
    t->index = dart_calloc(c->vocab + 1 + rows, sizeof *t->index);
    t->at = dart_calloc(batch, sizeof *t->at);
    t->at_index = dart_calloc(rows + 1 + batch, sizeof *t->at_index);
    t->types = dart_calloc(rows, sizeof *t->types);
    t->types_index = dart_calloc(types + 1 + rows, sizeof *t->types_index);
    shapes->cursor = dart_calloc(words, sizeof *shapes->cursor);
    return t->tokens && t->index && t->at && t->at_index && t->types && t->types_index &&
                   shapes->cursor
               ? DART_OK
               : DART_MEMORY;
}

/* Whether a shape has a program of its own of a part: pairs are evaluated in the full one. */
static bool shaped(const dart_session *session, int part)
{
    const dart_session_options *o = &session->options;
    switch (part) {
    case DART_PART_STEP:
        return o->train;
    case DART_PART_MORE:
        return o->train && o->accumulation > 1;
    case DART_PART_EVAL:
        return o->eval && session->model->config.labels;
    default:
        return false;
    }
}

/* The k-th of n shapes; false: it is no shorter than the full one, or that before it. */
static bool shape_new(const dart_session *session, dart_shapes *shapes, uint32_t k, uint32_t n)
{
    const uint32_t whole = session->options.time, source = session->model->config.source_context;
    shape *s = &shapes->shape[shapes->count];
    s->model = *session->model;
    s->time = part_of(whole, k, n);
    if (source) s->model.config.source_context = part_of(source, k, n);
    const uint32_t words = s->model.config.source_context;
    const shape *before = shapes->count ? s - 1 : NULL;
    if (s->time >= whole && words >= source) return false;
    if (before && before->time == s->time && before->model.config.source_context == words)
        return false;
    shapes->count++;
    return true;
}

dart_status dart_shapes_new(dart_session *session, const dart_caps *caps)
{
    const dart_session_options *o = &session->options;
    const dart_model_config *c = &session->model->config;
    const bool pairs = c->enc_layers && o->train;
    if ((!pairs && !c->labels) || o->shapes < 2) return DART_OK;
    dart_shapes *shapes = session->shapes = dart_calloc(1, sizeof *shapes);
    if (!shapes) return DART_MEMORY;
    shapes->shape = dart_calloc(o->shapes - 1, sizeof *shapes->shape);
    if (!shapes->shape) return DART_MEMORY;
    for (uint32_t k = 1; k < o->shapes; k++) {
        if (!shape_new(session, shapes, k, o->shapes)) continue;
        shape *s = &shapes->shape[shapes->count - 1];
        for (int p = 0; p < DART_PARTS; p++) {
            if (!shaped(session, p)) continue;
            dart_session view = view_of(session, s);
            const dart_status status = dart_part_prepare(&view, caps, p, &s->part[p]);
            session->times = view.times;
            DART_TRY(status);
        }
    }
    shapes->at = shapes->count;
    return pairs ? pairs_scratch(shapes, session) : texts_scratch(shapes, session);
}

dart_status dart_shapes_bind(dart_session *session, const dart_graph_program *share)
{
    dart_shapes *shapes = session->shapes;
    for (uint32_t k = 0; shapes && k < shapes->count; k++)
        for (int p = 0; p < DART_PARTS; p++) {
            dart_graph_program *part = &shapes->shape[k].part[p];
            if (!part->plan) continue;
            DART_TRY(
                dart_program_bind(part, session->device, &session->memory, share, &session->times));
        }
    return DART_OK;
}

void dart_shapes_free(dart_shapes *shapes)
{
    if (!shapes) return;
    for (uint32_t k = 0; shapes->shape && k < shapes->count; k++)
        for (int p = 0; p < DART_PARTS; p++) dart_program_free(&shapes->shape[k].part[p]);
    free(shapes->shape);
    free(shapes->pairs.source);
    free(shapes->pairs.target);
    free(shapes->pairs.labels);
    free(shapes->pairs.source_index);
    free(shapes->pairs.target_index);
    free(shapes->texts.tokens);
    free(shapes->texts.index);
    free(shapes->texts.at);
    free(shapes->texts.at_index);
    free(shapes->texts.types);
    free(shapes->texts.types_index);
    free(shapes->cursor);
    free(shapes);
}

const dart_graph_program *dart_shapes_program(const dart_session *session, int part)
{
    const dart_shapes *shapes = session->shapes;
    if (!shapes || shapes->at == shapes->count || !shaped(session, part))
        return &session->part[part];
    return &shapes->shape[shapes->at].part[part];
}

/* The shortest shape that has room for so many words of a source and tokens of a target or text. */
static uint32_t shape_for(const dart_shapes *shapes, uint32_t source, uint32_t target)
{
    uint32_t k = 0;
    while (k < shapes->count && (shapes->shape[k].model.config.source_context < source ||
                                    shapes->shape[k].time < target))
        k++;
    return k;
}

/* Rows of `from` words each, cut to `to`. */
static void narrow(const int32_t *in, uint32_t rows, uint32_t from, uint32_t to, int32_t *out)
{
    for (uint32_t r = 0; r < rows; r++)
        memcpy(out + (size_t)r * to, in + (size_t)r * from, to * sizeof *out);
}

/* The longest sentence of the batch: words of a source, labels of a target. */
static void longest(const dart_pair_batch *batch, uint32_t *source, uint32_t *target)
{
    *source = *target = 0;
    for (uint32_t b = 0; b < batch->batch; b++) {
        const int32_t *label = batch->labels + (size_t)b * batch->target_time;
        uint32_t labels = batch->target_time, words = (uint32_t)batch->source_length[b];
        while (labels && label[labels - 1] < 0) labels--;
        if (labels > *target) *target = labels;
        if (words > *source) *source = words;
    }
}

dart_status dart_shapes_load(
    dart_session *session, const dart_pair_batch *batch, uint32_t *out_time)
{
    dart_shapes *shapes = session->shapes;
    uint32_t source, target;
    *out_time = batch->target_time;
    if (!shapes) return dart_input_pairs(session, batch);
    longest(batch, &source, &target);
    shapes->at = shape_for(shapes, source, target);
    if (shapes->at == shapes->count) return dart_input_pairs(session, batch);
    const shape *s = &shapes->shape[shapes->at];
    const dart_model_config *c = &s->model.config;
    const uint32_t rows = batch->batch;
    dart_pair_batch cut = shapes->pairs;
    cut.batch = rows;
    cut.source_time = c->source_context;
    cut.target_time = s->time;
    cut.source_length = batch->source_length;
    narrow(batch->source, rows, batch->source_time, cut.source_time, cut.source);
    narrow(batch->target, rows, batch->target_time, cut.target_time, cut.target);
    narrow(batch->labels, rows, batch->target_time, cut.target_time, cut.labels);
    dart_scatter_index(
        cut.source, rows * cut.source_time, c->source_vocab, shapes->cursor, cut.source_index);
    dart_scatter_index(
        cut.target, rows * cut.target_time, c->vocab, shapes->cursor, cut.target_index);
    *out_time = s->time;
    dart_session view = view_of(session, s);
    return dart_input_pairs(&view, &cut);
}

dart_status dart_shapes_texts(dart_session *session, const dart_batch *batch, uint32_t *out_time)
{
    dart_shapes *shapes = session->shapes;
    const dart_model_config *c = &session->model->config;
    uint32_t target = 0;
    *out_time = batch->time;
    if (!shapes) return dart_input_texts(session, batch);
    for (uint32_t b = 0; b < batch->batch; b++)
        if ((uint32_t)batch->lengths[b] > target) target = (uint32_t)batch->lengths[b];
    shapes->at = shape_for(shapes, 0, target);
    if (shapes->at == shapes->count) return dart_input_texts(session, batch);
    const shape *s = &shapes->shape[shapes->at];
    const uint32_t texts = batch->batch, rows = texts * s->time;
    const int32_t whole = (int32_t)batch->time, time = (int32_t)s->time;
    dart_batch cut = shapes->texts;
    cut.batch = texts;
    cut.time = s->time;
    cut.labels = batch->labels;
    cut.lengths = batch->lengths;
    narrow(batch->tokens, texts, batch->time, cut.time, cut.tokens);
    narrow(batch->types, texts, batch->time, cut.time, cut.types);
    for (uint32_t b = 0; b < texts; b++)
        cut.at[b] = batch->at[b] / whole * time + batch->at[b] % whole;
    dart_scatter_index(cut.tokens, rows, c->vocab, shapes->cursor, cut.index);
    dart_scatter_index(cut.at, texts, rows, shapes->cursor, cut.at_index);
    if (c->token_types)
        dart_scatter_index(cut.types, rows, c->token_types, shapes->cursor, cut.types_index);
    *out_time = s->time;
    dart_session view = view_of(session, s);
    return dart_input_texts(&view, &cut);
}
