/* Heads of classifiers: what they are called and what is kept whole beside adapters.
 * github.com/huggingface/transformers, modeling_bert.py, modeling_roberta.py, modeling_layers.py;
 * github.com/huggingface/peft, docs/source/developer_guides/checkpoint.md */
#include "classes.h"
#include "export.h"
#include <stdio.h>
#include <string.h>

dart_status dart_export_classifier(const dart_exporting *e)
{
    const dart_model_config *c = &e->bundle->model->config;
    dart_pretrained_arch arch;
    DART_TRY(dart_export_arch(e, &arch));
    if (arch >= DART_PRETRAINED_BERT && !c->pooler)
        return dart_fail(DART_INPUT,
            "%s has no pooler (pooler: none), and a classifier on %s of Hugging Face's has one "
            "always; train it with --pooler new or base",
            e->from, dart_pretrained_arch_name(arch));
    if (arch < DART_PRETRAINED_BERT && dart_pretrained_config_of(e->base)->pad < 0)
        dart_note_line(e->note,
            "the base names no token that fills up: transformers scores one text at a time until "
            "pad_token_id is set");
    return DART_OK;
}

void dart_export_labels(const dart_exporting *e, json_t *body, dart_status *status)
{
    json_t *names = json_object(), *numbers = json_object();
    const char *name = e->bundle->set.labels;
    for (int i = 0; *name; i++) {
        char word[DART_LABELS_TEXT], number[16];
        const size_t length = strcspn(name, ",");
        snprintf(word, sizeof word, "%.*s", (int)length, name);
        snprintf(number, sizeof number, "%d", i);
        dart_json_set(names, number, dart_json_text(word), status);
        dart_json_set(numbers, word, json_integer(i), status);
        name += length + (name[length] == ',');
    }
    dart_json_set(body, "id2label", names, status);
    dart_json_set(body, "label2id", numbers, status);
    dart_json_set(body, "problem_type", json_string("single_label_classification"), status);
}

static bool is_roberta(const dart_exporting *e)
{
    return dart_pretrained_config_of(e->base)->arch == DART_PRETRAINED_ROBERTA;
}

const char *dart_export_saved(const dart_exporting *e, uint32_t index)
{
    const dart_model_config *c = &e->bundle->model->config;
    /* roberta's pooler is a part of its classifier */
    const bool pooler = c->new_pooler && !is_roberta(e);
    if (!c->labels || index > pooler) return NULL;
    return index ? "pooler" : c->encoder ? "classifier" : "score";
}

static bool saves_pooler(const dart_exporting *e)
{
    return e->bundle->model->config.labels &&
           (e->bundle->model->config.new_pooler || is_roberta(e));
}

bool dart_export_saves_weight(const dart_exporting *e, uint32_t w)
{
    const dart_model *model = e->bundle->model;
    return (int)w == model->classifier || ((int)w == model->pooler && saves_pooler(e));
}

bool dart_export_saves_vector(const dart_exporting *e, uint32_t p)
{
    const dart_model *model = e->bundle->model;
    return (int)p == model->classifier_bias || ((int)p == model->pooler_bias && saves_pooler(e));
}
