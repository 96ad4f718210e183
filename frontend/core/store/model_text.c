/* model.json of a checkpoint: what is computed, with every default resolved, so that a reader needs
 * neither the recipe nor our methods. docs/formats.md describes it. */
#include "model_file.h"
#include <string.h>

static json_t *norm_json(const dart_model_norm *norm, dart_status *status)
{
    json_t *body = json_object();
    dart_json_set(
        body, "kind", json_string(norm->kind == DART_RMS_NORM ? "rmsnorm" : "layernorm"), status);
    dart_json_set(body, "position", json_string(norm->post ? "post" : "pre"), status);
    dart_json_set(body, "eps", dart_json_real(norm->eps), status);
    return body;
}

static json_t *scaling_json(const dart_rope_scaling *s, dart_status *status)
{
    if (s->kind == DART_ROPE_PLAIN) return json_null();
    json_t *body = json_object();
    const bool llama3 = s->kind == DART_ROPE_LLAMA3;
    dart_json_set(body, "kind", json_string(llama3 ? "llama3" : "linear"), status);
    dart_json_set(body, "factor", dart_json_real(s->factor), status);
    if (!llama3) return body;
    dart_json_set(body, "low", dart_json_real(s->low), status);
    dart_json_set(body, "high", dart_json_real(s->high), status);
    dart_json_set(body, "original_context", json_integer(s->original_context), status);
    return body;
}

static json_t *positions_json(const dart_model_positions *p, dart_status *status)
{
    static const char *const kind[] = {
        [DART_LEARNED] = "learned", [DART_ROTARY] = "rotary", [DART_SINUSOIDAL] = "sinusoidal"};
    json_t *body = json_object();
    dart_json_set(body, "kind", json_string(kind[p->kind]), status);
    if (p->kind == DART_LEARNED) return body;
    dart_json_set(body, "base", dart_json_real(p->base), status);
    if (p->kind == DART_ROTARY)
        dart_json_set(body, "scaling", scaling_json(&p->scaling, status), status);
    return body;
}

static json_t *sizes_json(const uint32_t *size, uint32_t count, dart_status *status)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) dart_json_add(list, json_integer(size[i]), status);
    return list;
}

static json_t *term_json(const dart_model *model, const dart_model_weight *w,
    const dart_network *net, const dart_term *term, dart_status *status)
{
    json_t *body = json_object(), *operands = json_array();
    for (uint32_t k = 0; k < term->operands; k++) {
        const dart_shape shape = dart_term_shape(net, term, &w->layout, k);
        json_t *operand = json_object();
        dart_json_set(
            operand, "tensor", json_string(model->param[w->param[term->tensor[k]]].name), status);
        dart_json_set(operand, "labels", json_string(term->labels[k]), status);
        dart_json_set(operand, "shape", sizes_json(shape.dim, shape.rank, status), status);
        if (term->rows[k]) dart_json_set(operand, "rows", json_integer(term->rows[k]), status);
        dart_json_add(operands, operand, status);
    }
    dart_json_set(body, "scale", dart_json_real(term->scale), status);
    dart_json_set(body, "operands", operands, status);
    return body;
}

static json_t *weight_json(const dart_model *model, const dart_model_weight *w, dart_status *status)
{
    const dart_network net = dart_network_of(&w->weight, &w->layout);
    json_t *body = json_object(), *terms = json_array();
    for (uint32_t t = 0; t < net.terms; t++)
        dart_json_add(terms, term_json(model, w, &net, &net.term[t], status), status);
    dart_json_set(body, "name", json_string(w->weight.name), status);
    dart_json_set(body, "method", json_string(w->weight.method->name), status);
    dart_json_set(body, "out", json_integer(w->weight.out), status);
    dart_json_set(body, "in", json_integer(w->weight.in), status);
    dart_json_set(body, "padded_out", json_integer(w->layout.padded_out), status);
    dart_json_set(body, "row", json_string(net.row), status);
    dart_json_set(body, "column", json_string(net.col), status);
    dart_json_set(body, "terms", terms, status);
    if (net.rescaled)
        dart_json_set(
            body, "lengths", json_string(model->param[w->param[net.lengths]].name), status);
    return body;
}

static json_t *tensor_json(const dart_param *param, dart_status *status)
{
    json_t *body = json_object();
    dart_json_set(body, "name", json_string(param->name), status);
    dart_json_set(body, "shape", sizes_json(param->shape.dim, param->shape.rank, status), status);
    dart_json_set(body, "trained", json_boolean(param->region == DART_REGION_PARAM), status);
    dart_json_set(body, "stored", json_boolean(!param->of_base), status);
    return body;
}

static json_t *classifier_json(const dart_model_config *c, dart_status *status)
{
    json_t *body = json_object();
    dart_json_set(body, "labels", json_integer(c->labels), status);
    dart_json_set(body, "token", json_string(c->encoder ? "first" : "last"), status);
    dart_json_set(body, "pooler", json_boolean(c->pooler), status);
    dart_json_set(body, "token_types", json_integer(c->token_types), status);
    return body;
}

dart_status dart_model_text(const dart_model *model, char **out)
{
    static const char *const activation[] = {[DART_ACT_GELU] = "gelu_tanh",
        [DART_ACT_SILU] = "silu",
        [DART_ACT_SWIGLU] = "swiglu",
        [DART_ACT_RELU] = "relu",
        [DART_ACT_GELU_ERF] = "gelu"};
    const dart_model_config *c = &model->config;
    const bool translates = c->enc_layers > 0;
    const struct {
        const char *key;
        uint32_t value;
        bool pair; /* only where there is an encoder */
    } sizes[] = {{"layers", c->layers, false}, {"d_model", c->d_model, false},
        {"heads", c->heads, false}, {"kv_heads", c->kv_heads, false},
        {"head_dim", dart_head_dim(c), false}, {"d_ff", c->d_ff, false},
        {"context", c->context, false}, {"vocab", c->vocab, false},
        {"enc_layers", c->enc_layers, true}, {"source_context", c->source_context, true},
        {"source_vocab", c->source_vocab, true}};
    dart_status status = DART_OK;
    json_t *body = json_object(), *weights = json_array(), *tensors = json_array();
    dart_json_set(body, "format", json_integer(DART_STATE_FORMAT), &status);
    dart_json_set(body, "kind",
        json_string(translates   ? "encoder-decoder"
                    : c->encoder ? "encoder"
                                 : "decoder"),
        &status);
    if (c->labels) dart_json_set(body, "classifier", classifier_json(c, &status), &status);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (translates || !sizes[i].pair)
            dart_json_set(body, sizes[i].key, json_integer(sizes[i].value), &status);
    dart_json_set(body, "norm", norm_json(&c->norm, &status), &status);
    dart_json_set(body, "activation", json_string(activation[c->act]), &status);
    dart_json_set(body, "positions", positions_json(&c->positions, &status), &status);
    dart_json_set(body, "qk_norm", json_boolean(c->qk_norm), &status);
    if (c->adapter) dart_json_set(body, "adapter", json_integer(c->adapter), &status);
    if (!c->labels) dart_json_set(body, "tied_head", json_boolean(c->tied), &status);
    dart_json_set(body, "gates", json_boolean(c->gate.on), &status);
    for (uint32_t w = 0; w < model->weights; w++)
        dart_json_add(weights, weight_json(model, &model->weight[w], &status), &status);
    for (uint32_t p = 0; p < model->params; p++)
        dart_json_add(tensors, tensor_json(&model->param[p], &status), &status);
    dart_json_set(body, "weights", weights, &status);
    dart_json_set(body, "tensors", tensors, &status);
    return dart_json_write(body, status, JSON_COMPACT, "the description of a model", out);
}
