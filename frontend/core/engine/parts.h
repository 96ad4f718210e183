/* What session.c and parts.c share. */
#ifndef DART_PARTS_H
#define DART_PARTS_H

#include "gates.h"
#include "parallel.h"
#include "session.h"

/* The penalty takes weights of unequal sizes in padded stacks; prices are those of one weight. */
static inline bool dart_part_pads(const dart_session_options *o)
{
    return o->train && o->reg && o->reg->penalty &&
           dart_options_get(&o->reg_options, &dart_row_reg_weighting) != DART_WEIGHTING_PRICE;
}

/* Rows of a batch that an evaluation scores; words of OUTPUT from its beginning on that it writes
 * for each (likelihood, and of a token its rank); of a classifier where its scores begin. */
static inline uint64_t dart_part_rows(const dart_session *session)
{
    const dart_session_options *o = &session->options;
    return session->model->config.labels ? o->batch : (uint64_t)o->batch * o->time;
}
static inline uint32_t dart_part_row_words(const dart_session *session)
{
    return session->model->config.labels ? 1 : 2;
}
static inline uint64_t dart_part_scores(const dart_session *session)
{
    return dart_round_up(session->options.batch, 64);
}

/* masks.c */
typedef struct dart_masks {
    dart_gates gates;
    dart_node loss; /* scalar that the gates add to the loss; 0: nothing */
} dart_masks;
/* Masks on the cores in `leaves`: in training by gates and noise, else what the host wrote; out is
 * all 0 where the model has none. */
DART_NODISCARD dart_status dart_part_masks(const dart_session *session, dart_graph *graph,
    bool training, dart_model_leaves *leaves, dart_masks *out);
/* AdamW of the gate parameters with a step block of their own: neither clipped nor decayed. */
DART_NODISCARD dart_status dart_part_gate_update(const dart_session *session, dart_graph *graph);

/* covariance.c: sums of one batch into OUTPUT; session->covariances gets what there is to measure,
 * with sums of zeros. */
DART_NODISCARD dart_status dart_part_covariance(dart_session *session, dart_graph *graph);
/* Words of OUTPUT, and of FSCAL, that it needs; which rows of a batch count; its sums, read back.
 */
uint64_t dart_covariance_words(const dart_covariances *covariances);
uint64_t dart_covariance_fscal(const dart_session_options *options);
DART_NODISCARD dart_status dart_covariance_rows(dart_session *session, const int32_t *labels);
DART_NODISCARD dart_status dart_covariance_add(dart_session *session);

/* steps.c: room for the results of evaluations; FAILED where a step is in flight, doing: "reading
 * its parameters", ... */
DART_NODISCARD dart_status dart_steps_room(dart_session *session);
void dart_steps_free(dart_session *session);
DART_NODISCARD dart_status dart_steps_none(const dart_session *session, const char *doing);

/* One part of a session, planned; its times are added to the session's. */
DART_NODISCARD dart_status dart_part_prepare(
    dart_session *session, const dart_caps *caps, int part, dart_graph_program *program);
/* Tokens, labels and scatter index into INPUT; labels may be NULL. starts: of a packed model, NULL:
 * each row is one document. */
DART_NODISCARD dart_status dart_session_input(dart_session *session, uint32_t batch, uint32_t time,
    const int32_t *tokens, const int32_t *labels, const int32_t *index, const int32_t *starts);
/* feed.c: labels of training batch `at`; batches of an evaluation; batch `at` of either kind into
 * INPUT. */
typedef struct dart_input {
    const int32_t *labels; /* of the full shape, the stream's */
    uint64_t predicted;    /* how many of them count */
    uint64_t tokens;       /* as dart_input_count */
    uint64_t rows;         /* places for labels in INPUT */
} dart_input;
uint64_t dart_input_count(dart_stream *stream, uint64_t at);
uint64_t dart_input_batches(const dart_stream *stream);
DART_NODISCARD dart_status dart_input_load(
    dart_session *session, dart_stream *stream, uint64_t at, bool training, dart_input *out);
/* A batch of texts with labels into INPUT, for a classifier. */
DART_NODISCARD dart_status dart_input_texts(dart_session *session, const dart_batch *batch);
/* A batch of pairs as it is into INPUT. */
DART_NODISCARD dart_status dart_input_pairs(dart_session *session, const dart_pair_batch *batch);

/* shapes.c: graphs, then programs (arena shared with `share`); a training batch of pairs, or any
 * batch of texts with labels, into INPUT, in the narrowest shape that holds it; the program of a
 * part in the shape of the batch in INPUT, or the full one where shapes have none of it. */
DART_NODISCARD dart_status dart_shapes_new(dart_session *session, const dart_caps *caps);
DART_NODISCARD dart_status dart_shapes_bind(dart_session *session, const dart_graph_program *share);
void dart_shapes_free(dart_shapes *shapes);
DART_NODISCARD dart_status dart_shapes_load(
    dart_session *session, const dart_pair_batch *batch, uint32_t *out_time);
DART_NODISCARD dart_status dart_shapes_texts(
    dart_session *session, const dart_batch *batch, uint32_t *out_time);
const dart_graph_program *dart_shapes_program(const dart_session *session, int part);

#endif
