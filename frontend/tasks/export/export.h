/* Models as files of other programs. */
#ifndef DART_EXPORT_H
#define DART_EXPORT_H

#include "bundle.h"
#include "dart.h"

/* What dart_export does, of a bundle that is open. `from` names it in the files. */
DART_NODISCARD dart_status dart_export_bundle(const dart_bundle *bundle, const char *from,
    const dart_export_options *options, dart_note note, dart_export_result *out);

/* ---- inside this room ---- */

typedef struct dart_exporting {
    const dart_bundle *bundle;
    const dart_pretrained *base; /* NULL: the model was trained from scratch */
    const dart_export_options *options;
    const char *from;
    dart_note note;
    dart_export_result *out;
} dart_exporting;

/* names.c: what Hugging Face calls a tensor of ours, behind the architecture's prefix:
 * "model.layers.0.self_attn.q_proj.weight". The name of a weight, without ".weight" for a module.
 * INPUT: it has no name there. */
DART_NODISCARD dart_status dart_export_name(
    dart_pretrained_arch arch, const char *ours, char out[160]);
/* merge.c: the matrix (out, in) of weight w with what training added; caller frees. */
DART_NODISCARD dart_status dart_export_weight(const dart_exporting *e, uint32_t w, float **out);
/* peft.c: adapter_config.json and adapter_model.safetensors */
DART_NODISCARD dart_status dart_export_peft(const dart_exporting *e);
/* hf.c: config.json, model.safetensors, tokenizer */
DART_NODISCARD dart_status dart_export_hf(const dart_exporting *e);

#endif
