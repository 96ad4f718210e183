/* Models as compositions of ops and weights: parameters are laid out in flat regions, then the same
 * model is built into as many graphs as needed (training step, evaluation, generation). */
#ifndef DART_MODEL_H
#define DART_MODEL_H

#include "method.h"

/* Weights of a block, and beside the blocks, at most. */
enum { DART_MAX_LAYERS = 512, DART_BLOCK_WEIGHTS = 15, DART_OTHER_WEIGHTS = 5 };
enum { DART_MAX_WEIGHTS = DART_MAX_LAYERS * DART_BLOCK_WEIGHTS + DART_OTHER_WEIGHTS };
/* GELU: by tanh; GELU_ERF: the exact one. */
enum { DART_ACT_GELU, DART_ACT_SILU, DART_ACT_SWIGLU, DART_ACT_RELU, DART_ACT_GELU_ERF };
enum { DART_MAX_LABELS = 64 };

enum { DART_LAYER_NORM, DART_RMS_NORM };
typedef struct dart_model_norm {
    int kind;
    bool post;  /* after each residual sum instead of before each sub-layer */
    double eps; /* added to the variance, or to the mean square */
} dart_model_norm;

enum { DART_LEARNED, DART_ROTARY, DART_SINUSOIDAL };
/* How rotary angles are stretched to contexts longer than a model was trained with: linear divides
 * all by the factor (Chen et al. 2023); llama3 only those whose wavelength is above
 * original_context / low, none below original_context / high, in proportion between (Llama 3.1). */
enum { DART_ROPE_PLAIN, DART_ROPE_LINEAR, DART_ROPE_LLAMA3 };
typedef struct dart_rope_scaling {
    int kind;
    double factor, low, high;
    uint32_t original_context;
} dart_rope_scaling;
typedef struct dart_model_positions {
    int kind;                  /* sinusoidal: token embeddings are scaled by sqrt(d_model) */
    double base;               /* rotary, sinusoidal: wavelengths go from 2 pi to 2 pi base */
    dart_rope_scaling scaling; /* rotary */
} dart_model_positions;

/* Which linear layers have a bias. */
enum { DART_NO_BIAS, DART_ALL_BIAS, DART_QKV_BIAS };

/* Masks on the bonds of all chains, see gates.h. */
typedef struct dart_gate_config {
    bool on;
    bool trained; /* with a parameter an entry; entries are rank indices or candidate ranks */
    bool scaled;  /* a frozen scale an entry beside it */
    uint32_t candidates; /* above 0: entries are at most this many candidate ranks a bond */
} dart_gate_config;

typedef struct dart_model_config {
    uint32_t layers, d_model, heads, kv_heads, d_ff, context, vocab;
    uint32_t head_dim; /* of a query, key or value; 0: d_model / heads */
    /* enc_layers > 0: an encoder-decoder (Vaswani et al. 2017); layers, context and vocab are then
     * the decoder's */
    uint32_t enc_layers, source_context, source_vocab;
    bool shared_vocab; /* one token embedding for both sides */
    dart_model_norm norm;
    dart_model_positions positions;
    int act;          /* DART_ACT_ */
    uint32_t adapter; /* above 0: the output x of every attention and MLP becomes x + W' relu(W x),
                         of this width between (Houlsby et al. 2019) */
    bool tied;        /* head = token embedding */
    int bias;         /* DART_*_BIAS */
    bool qk_norm;     /* RMSNorm of each query and key before their positions (Qwen 3) */
    bool frozen_vectors;    /* norms, biases and learned positions are not trained */
    double label_smoothing; /* of the training loss only */
    double dropout;         /* embedding, attention output, mlp output */
    /* Above 0: the model scores this many classes of a text instead of tokens, from the state of
     * its last token, of an encoder from that of its first. */
    uint32_t labels;
    /* An encoder (Devlin et al. 2019): a position sees the whole text; a norm follows the embedding
     * and each sum. Classifiers only. */
    bool encoder;
    uint32_t token_types; /* segments that an encoder tells apart; 0: none */
    bool pooler;          /* a dense layer and a tanh before the classifier */
    bool new_pooler;      /* of_base: and it is not the base's */
    /* Who decides how a weight is parametrized: the first role whose pattern fits its name. */
    uint32_t roles;
    dart_role role[DART_MAX_ROLES];
    bool partial_labels; /* batches have rows without a label: the loss is the mean over the rest */
    bool packed;         /* rows hold documents behind each other, which see themselves only */
    bool of_base;        /* what is frozen is a pretrained model's, ... */
    uint8_t
        base_type[DART_MAX_WEIGHTS]; /* ... and the dtype that each weight's matrix is kept in */
    bool strict_rank;                /* a rank above the cap is an error instead of being clamped */
    dart_gate_config gate;
} dart_model_config;

typedef struct dart_param { /* one tensor of the model */
    char name[128];         /* "blocks.0.attn.q.core0", as in the safetensors file */
    dart_shape shape;
    dart_dtype type;    /* F32, or packed */
    dart_region region; /* PARAM or FROZEN */
    uint64_t offset;    /* words, aligned to 64 */
    double std;         /* initialisation; ones if `ones` */
    bool ones,
        decay; /* decay: weight decay applies (all with two axes or more; not norms and biases) */
    int weight, tensor; /* index of weight and tensor in it, -1 for norms, biases, positions; where
                           several weights share it, of the first */
    bool of_base;       /* frozen, and taken over from a pretrained model: not stored */
    bool gate;  /* of a bond: vanishes at the next selection, not a parameter of the model */
    bool added; /* of an adapter: a pretrained model has none */
} dart_param;

static inline uint64_t dart_param_words(const dart_param *param)
{
    return dart_type_words(param->type, &param->shape);
}

/* Where a block finds its pieces: indices into weight[] and param[], -1 where the configuration has
 * none. */
typedef struct dart_model_attention {
    int q, k, v, o;                     /* weights */
    int q_bias, k_bias, v_bias, o_bias; /* params */
    int q_norm, k_norm;
} dart_model_attention;

typedef struct dart_model_adapter {
    int down, up;           /* weights: (adapter, d_model), (d_model, adapter) */
    int down_bias, up_bias; /* params */
} dart_model_adapter;

typedef struct dart_model_block {
    dart_model_attention attn, cross; /* cross: decoder of an encoder-decoder */
    dart_model_adapter attn_adapter, mlp_adapter;
    int up, gate, down;                                                 /* weights */
    int norm1_w, norm1_b, cross_norm_w, cross_norm_b, norm2_w, norm2_b; /* params */
    int up_bias, gate_bias, down_bias;
} dart_model_block;

typedef struct dart_model_weight {
    dart_weight weight;
    dart_layout layout;
    uint32_t param[DART_MAX_CORES + 2]; /* model.param[param[i]] is layout.tensor[i] */
    uint32_t first_param; /* = param[0]; those of a chain lie behind it in their order */
    bool compressed;      /* counts as a compressed layer: its method has a chain or a thin term */
    bool added;           /* as in dart_param */
} dart_model_weight;

typedef struct dart_model {
    dart_model_config config;
    uint32_t weights, params;
    dart_model_weight *weight; /* owned */
    dart_param *param; /* owned; decayed ones first inside PARAM, so decay is one contiguous span */
    dart_model_block *block;       /* owned, one a layer (of the decoder) */
    dart_model_block *encoder;     /* the encoder's, in the same array */
    int embedding, head;           /* weights; head = embedding if tied */
    int source_embedding;          /* = embedding if shared */
    int positions, norm_w, norm_b; /* params; -1: none */
    int source_positions, source_norm_w, source_norm_b;
    int types, norm_emb_w, norm_emb_b;                    /* params of an encoder; -1: none */
    int pooler, classifier, pooler_bias, classifier_bias; /* two weights, two params */
    uint64_t param_words, frozen_words, decay_words, table_words;
    /* spans of PARAM from 0: chain cores with a bond on their right, all chain cores */
    uint64_t bonded_words, chain_words;
    /* config.gate.on: all bonds; gate parameters end PARAM, their scales end FROZEN */
    uint32_t bonds, gate_stride;
    dart_bond *bond; /* owned */
    uint64_t gate_scale_at, gate_table, gate_floats, gate_ints;
} dart_model;

/* Size of a query, key or value. */
static inline uint32_t dart_head_dim(const dart_model_config *c)
{
    return c->head_dim ? c->head_dim : c->d_model / c->heads;
}

/* Lays out all parameters. `ranks`: NULL, or per weight the bond ranks to use (from a checkpoint or
 * a pick). */
DART_NODISCARD dart_status dart_model_new(const dart_model_config *config,
    const uint32_t (*ranks)[DART_MAX_CORES + 1], dart_model **out_model);
void dart_model_free(dart_model *model);
/* The tensor of a weight that is packed; NULL: none is. */
const dart_param *dart_model_packed(const dart_model *model, uint32_t weight);
/* Whether any is. */
bool dart_model_packs(const dart_model *model);
/* Initial values: the words of PARAM and FROZEN, param_words and frozen_words long, as floats. What
 * is a pretrained model's is zero; of it, what is packed are words of packed.def, whose bits are
 * those of the floats. */
DART_NODISCARD dart_status dart_model_init(
    const dart_model *model, uint64_t seed, float *param, float *frozen);
/* A pretrained matrix (out, in) becomes weight w; param and frozen hold initial values. What a
 * caller may spare itself, and errors, are those of dart_method_adopt. `unpacked` gets the numbers
 * of the tensor that is to be packed; NULL where none is. */
DART_NODISCARD dart_status dart_model_adopt(const dart_model *model, uint32_t w, const float *base,
    float *param, float *frozen, float *unpacked, double *out_error);
/* The parameter of this name at or behind `from`; a model with other ranks has all of them, in the
 * same order, but for chains that were lost. */
uint32_t dart_param_next(const dart_model *model, uint32_t from, const char *name);
/* Constants of the TABLE region (rotary cos/sin or sinusoidal positions, in f64 rounded to f32),
 * table_words long. */
void dart_model_table(const dart_model *model, float *table);
/* adopt.c: where the tensors of a weight lie in the host's copies of the regions. `unpacked` (may
 * be NULL) takes the place of one that is packed. */
void dart_model_tensors(const dart_model *model, uint32_t weight, float *param, float *frozen,
    float *unpacked, float *out[DART_MAX_CORES + 2]);
/* Parameters of the model, and of its compressed layers; what the dense twin of these layers would
 * have. */
void dart_model_count(
    const dart_model *model, uint64_t *out_total, uint64_t *out_compressed, uint64_t *out_dense);
/* Parameters of a weight; what several share counts for the first of them. */
uint64_t dart_model_weight_words(const dart_model *model, uint32_t weight);

/* Leaves of one graph. */
typedef struct dart_model_leaves {
    dart_node *
        param; /* one a model param; arena of the graph's caller; filled by dart_model_leaves_new */
    dart_node tokens, labels,
        index; /* INPUT region: tokens (B,T), labels (B*T), index (V+1+B*T), V = config.vocab */
    dart_node source, source_length, source_index; /* encoder-decoder: (B,S), (B), (Vs+1+B*S) */
    dart_node iscal, fscal, table;
    /* classifiers, as dart_text_input has them; labels are (B) then */
    dart_node lengths, at, at_index, types, types_index;
    dart_node starts; /* packed: i32 (B,T), where each position's document begins; else 0 */
    dart_node scale;  /* encoder-decoder, partial_labels: FSCAL word SCALE, what the sum of the
                         labels' losses is multiplied by; 0: 1 / rows */
    uint32_t batch, time;
} dart_model_leaves;
/* INPUT layout in words: tokens at 0, labels, index, each aligned to 64. */
uint64_t dart_model_input_words(const dart_model *model, uint32_t batch, uint32_t time);
void dart_model_input_offsets(const dart_model *model, uint32_t batch, uint32_t time,
    uint64_t *out_tokens, uint64_t *out_labels, uint64_t *out_index);
/* Packed: the documents' starts (B,T), behind the others. */
uint64_t dart_model_starts_offset(const dart_model *model, uint32_t batch, uint32_t time);
/* Encoder-decoder: source (B,S), lengths (B), the source's scatter index, behind the target's. */
void dart_model_source_offsets(const dart_model *model, uint32_t batch, uint32_t time,
    uint64_t *out_source, uint64_t *out_length, uint64_t *out_index);
/* Classifiers: places in INPUT, behind the others. */
typedef struct dart_text_input {
    uint64_t lengths;     /* (B): tokens of each text */
    uint64_t at;          /* (B): which of the B*T positions its scores are made from */
    uint64_t at_index;    /* (B*T+1+B): of these, as the tokens' */
    uint64_t types;       /* (B,T): segments; with token_types only */
    uint64_t types_index; /* (token_types+1+B*T) */
    uint64_t words;       /* the end */
} dart_text_input;
dart_text_input dart_model_text_input(const dart_model *model, uint32_t batch, uint32_t time);
DART_NODISCARD dart_status dart_model_leaves_new(const dart_model *model, dart_graph *graph,
    uint32_t batch, uint32_t time, dart_model_leaves *out);
void dart_model_leaves_free(dart_model_leaves *leaves);

/* Mean negative log likelihood of labels (scalar), chunked head: at most `chunk_rows` rows of
 * logits live at once; gradients of the head attached when training. *out_rows (NULL in training):
 * (B*T, 2), of each token its nll and how many others are at least as likely, for evaluation. */
dart_node dart_model_loss(const dart_model *model, dart_graph *graph,
    const dart_model_leaves *leaves, bool training, uint32_t chunk_rows, dart_node *out_rows);
/* Of a classifier: the mean negative log likelihood of labels, with gradients when training.
 * *out_rows: (B,1), of each text; *out_scores: (B, labels). Both may be NULL. */
dart_node dart_model_classify(const dart_model *model, dart_graph *graph,
    const dart_model_leaves *leaves, bool training, dart_node *out_rows, dart_node *out_scores);
/* Logits (B, vocab padded) of position `at` of each sequence; at = time: of all positions,
 * (B*T, vocab padded). */
dart_node dart_model_logits(
    const dart_model *model, dart_graph *graph, const dart_model_leaves *leaves, uint32_t at);
/* Causal self-attention of one block by itself, between its projections: queries (B, T, heads *
 * size), keys and values (B, T, kv_heads * size), of whole rows -> (B, T, heads * size). */
dart_node dart_model_mix(const dart_model *model, dart_graph *graph, uint32_t batch, uint32_t time,
    dart_node q, dart_node k, dart_node v);
/* What each weight multiplies, without dropout: out[w] (B, rows of its side, in), one node for
 * those that read the same; 0 for tables that are only looked up. */
void dart_model_inputs(
    const dart_model *model, dart_graph *graph, const dart_model_leaves *leaves, dart_node *out);
/* The mean negative log likelihood of the labels, without dropout or smoothing, such that it can be
 * differentiated by outputs[w] too: what weight w makes of inputs[w], before its bias (B, rows of
 * its side, out); 0 for the head and for tables. inputs as above; both [weights]. */
dart_node dart_model_traced_loss(const dart_model *model, dart_graph *graph,
    const dart_model_leaves *leaves, uint32_t chunk_rows, dart_node *inputs, dart_node *outputs);
/* ---- an encoder-decoder that translates, seq2seq_next.c: `sentences` at once, `beams` prefixes of
 * each; row i is a prefix of sentence i / beams ---- */
/* CACHE words: keys and values of the encoded sentences, then those of the prefixes. */
uint64_t dart_model_cache_words(const dart_model *model, uint32_t sentences, uint32_t beams);
/* Places in the INPUT region of the graph of dart_model_next. */
typedef struct dart_next_input {
    uint64_t tokens; /* (rows): the last token of each prefix */
    uint64_t at;     /* (1): its position */
    uint64_t
        parents; /* (2 * rows): whose keys, and whose values, row i goes on from: p, rows + p */
    uint64_t lengths; /* (sentences): real tokens of the sources */
    uint64_t words;
} dart_next_input;
dart_next_input dart_model_next_input(uint32_t sentences, uint32_t beams);
/* Encodes a batch (leaves of `sentences` rows) into CACHE. */
DART_NODISCARD dart_status dart_model_encode(
    const dart_model *model, dart_graph *graph, const dart_model_leaves *leaves);
/* Logits (rows, vocab padded) of the token after `tokens`; keys and values are first moved from the
 * parents and then extended. leaves: of sentences * beams rows, time 1. */
DART_NODISCARD dart_status dart_model_next(const dart_model *model, dart_graph *graph,
    const dart_model_leaves *leaves, uint32_t beams, dart_node *out_logits);
/* What an optimizer may step as matrices, by ascending offset: the tensors of linear layers, cores
 * unfolded. malloc'ed (caller frees). */
DART_NODISCARD dart_status dart_model_matrices(
    const dart_model *model, dart_matrices **out, uint32_t *out_count);
/* Chain cores of weight w as (r,n,r') nodes; returns how many (0: no chain). */
uint32_t dart_model_chain(const dart_model *model, dart_graph *graph,
    const dart_model_leaves *leaves, uint32_t weight, dart_node out[DART_MAX_CORES]);
/* All chains of the model for dart_penalty_append (reg.h), those of one form stacked: fills at most
 * model->weights entries with new leaves over PARAM and PENALTY. span: also where sizes and ranks
 * differ, padded to the largest, and gradients go to the span; needs the tables below. NULL: only
 * where they are equal. */
DART_NODISCARD dart_status dart_model_chains(const dart_model *model, dart_graph *graph,
    dart_chain_span *span, dart_chain_stack *out, uint32_t *out_count);
/* The words of PARAM that hold all chains; begin > end: there are none. */
void dart_model_chain_span(const dart_model *model, uint64_t *begin, uint64_t *end);
/* Tables for padding in the TABLE region, behind all others: words of f32 from dart_model_chains_at
 * on, then words of i32. */
uint64_t dart_model_chains_at(const dart_model *model);
DART_NODISCARD dart_status dart_model_chains_size(
    const dart_model *model, uint64_t *out_floats, uint64_t *out_ints);
/* floats and ints: of those sizes, zeros before. */
DART_NODISCARD dart_status dart_model_chains_table(
    const dart_model *model, float *floats, int32_t *ints);

#endif
