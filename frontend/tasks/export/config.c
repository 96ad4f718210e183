/* config.json of a whole model as a Hugging Face folder. */
#include "ends.h"
#include "export.h"
#include "file.h"
#include "json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t dart_export_positions(const dart_exporting *e)
{
    const dart_model_config *c = &e->bundle->model->config;
    const dart_pretrained_tensor *t =
        e->base ? dart_pretrained_find(e->base, "pos_emb.weight") : NULL;
    return t ? (uint32_t)t->rows : c->context;
}

static void set_uint(json_t *body, const char *key, uint64_t value, dart_status *status)
{
    dart_json_set(body, key, json_integer((json_int_t)value), status);
}

static json_t *rope_json(const dart_rope_scaling *s, dart_status *status)
{
    if (s->kind == DART_ROPE_PLAIN) return json_null();
    json_t *rope = json_object();
    dart_json_set(
        rope, "rope_type", json_string(s->kind == DART_ROPE_LINEAR ? "linear" : "llama3"), status);
    dart_json_set(rope, "factor", json_real(s->factor), status);
    if (s->kind != DART_ROPE_LLAMA3) return rope;
    dart_json_set(rope, "low_freq_factor", json_real(s->low), status);
    dart_json_set(rope, "high_freq_factor", json_real(s->high), status);
    set_uint(rope, "original_max_position_embeddings", s->original_context, status);
    return rope;
}

/* The token that ends a text, or the list of all that do: instruction models have one of a turn. */
static void set_ends(const dart_ends *ends, json_t *body, dart_status *status)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < ends->count; i++)
        dart_json_add(list, json_integer(ends->id[i]), status);
    if (ends->count == 1)
        dart_json_set(body, "eos_token_id", json_integer(ends->id[0]), status);
    else if (ends->count)
        dart_json_set(body, "eos_token_id", json_incref(list), status);
    json_decref(list);
}

static void llama_config(const dart_exporting *e, json_t *body, dart_status *status)
{
    const dart_model_config *c = &e->bundle->model->config;
    set_uint(body, "hidden_size", c->d_model, status);
    set_uint(body, "intermediate_size", c->d_ff, status);
    set_uint(body, "num_hidden_layers", c->layers, status);
    set_uint(body, "num_attention_heads", c->heads, status);
    set_uint(body, "num_key_value_heads", c->kv_heads, status);
    set_uint(body, "head_dim", dart_head_dim(c), status);
    dart_json_set(body, "hidden_act", json_string("silu"), status);
    dart_json_set(body, "rms_norm_eps", json_real(c->norm.eps), status);
    dart_json_set(body, "rope_theta", json_real(c->positions.base), status);
    dart_json_set(body, "rope_scaling", rope_json(&c->positions.scaling, status), status);
    dart_json_set(body, "attention_bias", json_boolean(c->bias != DART_NO_BIAS), status);
    dart_json_set(body, "mlp_bias", json_boolean(c->bias == DART_ALL_BIAS), status);
}

static void gpt2_config(const dart_exporting *e, json_t *body, dart_status *status)
{
    const dart_model_config *c = &e->bundle->model->config;
    set_uint(body, "n_embd", c->d_model, status);
    set_uint(body, "n_inner", c->d_ff, status);
    set_uint(body, "n_layer", c->layers, status);
    set_uint(body, "n_head", c->heads, status);
    set_uint(body, "n_positions", dart_export_positions(e), status);
    dart_json_set(body, "activation_function",
        json_string(c->act == DART_ACT_RELU ? "relu" : "gelu_new"), status);
    dart_json_set(body, "layer_norm_epsilon", json_real(c->norm.eps), status);
}

static void encoder_config(const dart_exporting *e, json_t *body, dart_status *status)
{
    const dart_model_config *c = &e->bundle->model->config;
    const char *acts[] = {
        [DART_ACT_GELU] = "gelu_new", [DART_ACT_GELU_ERF] = "gelu", [DART_ACT_RELU] = "relu"};
    set_uint(body, "hidden_size", c->d_model, status);
    set_uint(body, "intermediate_size", c->d_ff, status);
    set_uint(body, "num_hidden_layers", c->layers, status);
    set_uint(body, "num_attention_heads", c->heads, status);
    set_uint(body, "type_vocab_size", c->token_types, status);
    dart_json_set(body, "hidden_act", json_string(acts[c->act]), status);
    dart_json_set(body, "layer_norm_eps", json_real(c->norm.eps), status);
    dart_json_set(body, "position_embedding_type", json_string("absolute"), status);
    set_uint(body, "max_position_embeddings", dart_export_positions(e), status);
}

dart_status dart_export_config(const dart_exporting *e, dart_pretrained_arch arch)
{
    /* name of a family, and what goes on with a text */
    static const char *const names[][2] = {[DART_PRETRAINED_LLAMA] = {"Llama", "ForCausalLM"},
        [DART_PRETRAINED_MISTRAL] = {"Mistral", "ForCausalLM"},
        [DART_PRETRAINED_QWEN2] = {"Qwen2", "ForCausalLM"},
        [DART_PRETRAINED_QWEN3] = {"Qwen3", "ForCausalLM"},
        [DART_PRETRAINED_GPT2] = {"GPT2", "LMHeadModel"},
        [DART_PRETRAINED_BERT] = {"Bert", ""},
        [DART_PRETRAINED_ROBERTA] = {"Roberta", ""}};
    const dart_model_config *c = &e->bundle->model->config;
    const dart_pretrained_config *base = e->base ? dart_pretrained_config_of(e->base) : NULL;
    const dart_vocab *vocab = e->bundle->vocab;
    dart_status status = DART_OK;
    const bool encoder = arch >= DART_PRETRAINED_BERT;
    char path[4096], name[48], *text;
    dart_ends ends;
    const char *dtype = e->options->dtype ? e->options->dtype : "";
    const char *dtype_name = !strcmp(dtype, "f16")    ? "float16"
                             : !strcmp(dtype, "bf16") ? "bfloat16"
                                                      : "float32";
    DART_TRY(dart_ends_of(e->bundle, &ends));
    if (!ends.count && vocab->end >= 0) ends = (dart_ends){1, {vocab->end}}; /* of words */
    json_t *body = json_object(), *classes_of = json_array();
    snprintf(name, sizeof name, "%s%s", names[arch][0],
        c->labels ? "ForSequenceClassification" : names[arch][1]);
    dart_json_add(classes_of, json_string(name), &status);
    dart_json_set(body, "architectures", classes_of, &status);
    dart_json_set(body, "model_type", json_string(dart_pretrained_arch_name(arch)), &status);
    if (arch == DART_PRETRAINED_GPT2)
        gpt2_config(e, body, &status);
    else if (encoder)
        encoder_config(e, body, &status);
    else
        llama_config(e, body, &status);
    if (c->labels) dart_export_labels(e, body, &status);
    if (arch != DART_PRETRAINED_GPT2 && !encoder)
        set_uint(body, "max_position_embeddings", base ? base->context : c->context, &status);
    set_uint(body, "vocab_size", c->vocab, &status);
    /* of which token it does not matter, as texts come with masks; but roberta counts positions
     * from it, and a classifier on a decoder finds the end of a text by it */
    if (base && base->pad >= 0) set_uint(body, "pad_token_id", (uint64_t)base->pad, &status);
    dart_json_set(body, "tie_word_embeddings", json_boolean(c->tied), &status);
    dart_json_set(body, "torch_dtype", json_string(dtype_name), &status);
    if (base && base->bos >= 0)
        dart_json_set(body, "bos_token_id", json_integer(base->bos), &status);
    else if (vocab->first >= 0)
        dart_json_set(body, "bos_token_id", json_integer(vocab->first), &status);
    set_ends(&ends, body, &status);
    DART_TRY(
        dart_json_write(body, status, JSON_INDENT(2) | JSON_PRESERVE_ORDER, "config.json", &text));
    snprintf(path, sizeof path, "%s/config.json", e->options->out);
    status = dart_file_write_atomic(path, text, strlen(text));
    free(text);
    return status;
}
