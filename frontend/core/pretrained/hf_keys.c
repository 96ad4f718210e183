/* The keys that config.json may have. What a model computes is defined by code that reads these
 * keys; one that is not known here may be one that matters. */
#include "hf_keys.h"
#include <stdlib.h>
#include <string.h>

/* FREE: read elsewhere, or without influence on what is computed. NONE: something else is computed
 * unless it is null, false, 0 or empty. */
enum { FREE, NONE };

static const struct {
    const char *key;
    int rule;
} keys[] = {{"activation_function", FREE}, {"add_cross_attention", NONE}, {"architectures", FREE},
    {"attention_bias", FREE}, {"attention_dropout", FREE}, {"attention_probs_dropout_prob", FREE},
    {"attn_pdrop", FREE}, {"auto_map", NONE}, {"bad_words_ids", FREE},
    {"begin_suppress_tokens", FREE}, {"bos_token_id", FREE}, {"chunk_size_feed_forward", FREE},
    {"classifier_dropout", FREE}, {"cross_attention_hidden_size", NONE},
    {"decoder_start_token_id", FREE}, {"directionality", FREE}, {"diversity_penalty", FREE},
    {"do_sample", FREE}, {"dtype", FREE}, {"early_stopping", FREE}, {"embd_pdrop", FREE},
    {"encoder_no_repeat_ngram_size", FREE}, {"eos_token_id", FREE},
    {"exponential_decay_length_penalty", FREE}, {"finetuning_task", FREE},
    {"forced_bos_token_id", FREE}, {"forced_eos_token_id", FREE}, {"gradient_checkpointing", FREE},
    {"head_dim", FREE}, {"hidden_act", FREE}, {"hidden_dropout_prob", FREE}, {"hidden_size", FREE},
    {"id2label", FREE}, {"initializer_range", FREE}, {"intermediate_size", FREE},
    {"is_decoder", NONE}, {"is_encoder_decoder", NONE}, {"is_llama_config", FREE},
    {"label2id", FREE}, {"layer_norm_eps", FREE}, {"layer_norm_epsilon", FREE},
    {"layer_types", FREE}, {"length_penalty", FREE}, {"mask_token_id", FREE}, {"max_length", FREE},
    {"max_position_embeddings", FREE}, {"max_window_layers", FREE}, {"min_length", FREE},
    {"mlp_bias", FREE}, {"model_type", FREE}, {"n_ctx", FREE}, {"n_embd", FREE}, {"n_head", FREE},
    {"n_inner", FREE}, {"n_layer", FREE}, {"n_positions", FREE}, {"name_or_path", FREE},
    {"no_repeat_ngram_size", FREE}, {"num_attention_heads", FREE}, {"num_beam_groups", FREE},
    {"num_beams", FREE}, {"num_hidden_layers", FREE}, {"num_key_value_heads", FREE},
    {"num_labels", FREE}, {"num_return_sequences", FREE}, {"output_attentions", FREE},
    {"output_hidden_states", FREE}, {"output_past", FREE}, {"output_scores", FREE},
    {"pad_token_id", FREE}, {"partial_rotary_factor", FREE}, {"pooler_fc_size", FREE},
    {"pooler_num_attention_heads", FREE}, {"pooler_num_fc_layers", FREE},
    {"pooler_size_per_head", FREE}, {"pooler_type", FREE}, {"position_embedding_type", FREE},
    {"prefix", FREE}, {"pretraining_tp", FREE}, {"problem_type", FREE}, {"pruned_heads", NONE},
    {"quantization_config", NONE}, {"remove_invalid_values", FREE},
    {"reorder_and_upcast_attn", FREE}, {"repetition_penalty", FREE}, {"resid_pdrop", FREE},
    {"return_dict", FREE}, {"return_dict_in_generate", FREE}, {"rms_norm_eps", FREE},
    {"rope_interleaved", NONE}, {"rope_parameters", FREE}, {"rope_scaling", FREE},
    {"rope_theta", FREE}, {"scale_attn_by_inverse_layer_idx", NONE}, {"scale_attn_weights", FREE},
    {"sep_token_id", FREE}, {"sliding_window", FREE}, {"summary_activation", FREE},
    {"summary_first_dropout", FREE}, {"summary_proj_to_labels", FREE}, {"summary_type", FREE},
    {"summary_use_proj", FREE}, {"suppress_tokens", FREE}, {"task_specific_params", FREE},
    {"temperature", FREE}, {"tf_legacy_loss", FREE}, {"tie_encoder_decoder", NONE},
    {"tie_word_embeddings", FREE}, {"tokenizer_class", FREE}, {"top_k", FREE}, {"top_p", FREE},
    {"torch_dtype", FREE}, {"torchscript", FREE}, {"transformers.js_config", FREE},
    {"transformers_version", FREE}, {"type_vocab_size", FREE}, {"typical_p", FREE},
    {"unsloth_fixed", FREE}, {"unsloth_version", FREE}, {"use_bfloat16", FREE}, {"use_cache", FREE},
    {"use_mrope", NONE}, {"use_sliding_window", FREE}, {"vocab_size", FREE}};

/* null, false, 0, "", [] or {} */
static bool is_nothing(const json_t *value)
{
    if (json_is_number(value)) return json_number_value(value) == 0;
    if (json_is_string(value)) return json_string_length(value) == 0;
    return json_is_null(value) || json_is_false(value) ||
           ((json_is_array(value) || json_is_object(value)) && json_array_size(value) == 0 &&
               json_object_size(value) == 0);
}

static int key_of(const void *key, const void *row)
{
    return strcmp(key, *(const char *const *)row);
}

/* Those of adapter_config.json that are read, or do not matter once an adapter is trained. What is
 * not among them is refused unless it is null, false, 0 or empty. */
static const char *const adapter_keys[] = {"alpha_pattern", "auto_mapping",
    "base_model_name_or_path", "bias", "corda_config", "eva_config", "exclude_modules",
    "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern",
    "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config",
    "megatron_core", "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r",
    "rank_pattern", "revision", "runtime_config", "target_modules", "task_type", "use_rslora"};

dart_status dart_hf_check_adapter(const char *file, json_t *root)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        const size_t count = sizeof adapter_keys / sizeof *adapter_keys;
        if (bsearch(key, adapter_keys, count, sizeof *adapter_keys, key_of) || is_nothing(value))
            continue;
        return dart_fail(DART_INPUT,
            "%s: the setting '%.60s' asks for something that is not read here: only plain LoRA "
            "pairs of linear layers are",
            file, key);
    }
    return DART_OK;
}

dart_status dart_hf_check_keys(const char *file, json_t *root)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        if (key[0] == '_') continue; /* notes of the program that wrote it */
        const void *row = bsearch(key, keys, sizeof keys / sizeof *keys, sizeof *keys, key_of);
        if (!row)
            return dart_fail(DART_INPUT,
                "%s: the setting '%.60s' is unknown and may change what the model computes; take "
                "it "
                "out if it does not",
                file, key);
        const size_t at = (size_t)((const char *)row - (const char *)keys) / sizeof *keys;
        if (keys[at].rule == NONE && !is_nothing(value))
            return dart_fail(DART_INPUT,
                "%s: the setting '%.60s' asks for something that is not computed here", file, key);
    }
    return DART_OK;
}
