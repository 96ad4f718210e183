/* What would refuse a run or a stage that is still to come, found before anything is done. */
#include "cut.h"
#include "rank_options.h"
#include "recipe_impl.h"
#include "setup.h"
#include <math.h>
#include <stdlib.h>

/* Lets the rule choose from made-up spectra: what it refuses of its options, it would refuse then.
 * gate: whose counts it will find, all ranks. */
static dart_status rehearse(const dart_model *model, const dart_select *rule,
    const dart_select_options *options, const char *gate)
{
    dart_status status = DART_OK;
    uint32_t bonds, most = 1;
    dart_bond *bond;
    DART_TRY(dart_bonds_of(model, &bond, &bonds));
    for (uint32_t i = 0; i < bonds; i++)
        if (bond[i].rank > most) most = bond[i].rank;
    double *sigma = dart_calloc(most, sizeof *sigma);
    uint32_t *ranks = dart_calloc(bonds, sizeof *ranks);
    if (!sigma || !ranks) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < most; i++) sigma[i] = 1.0 / (i + 1);
    for (uint32_t i = 0; i < bonds; i++) {
        bond[i].sigma = sigma;
        bond[i].count = gate ? bond[i].rank : 0;
        bond[i].gate = gate;
    }
    if (bonds) status = rule->choose(bond, bonds, options, ranks);
done:
    free(bond);
    free(sigma);
    free(ranks);
    return status;
}

/* A size that not even the smallest ranks have. A part is one of what selections until then leave:
 * no more than the present. */
static dart_status check_size(const dart_model *model, const dart_stage *stage, const char *key)
{
    const double budget = dart_settings_option(&stage->set, &dart_row_budget);
    const double min_rank = dart_settings_option(&stage->set, &dart_row_min_rank);
    const double now = dart_cut_words(model, UINT32_MAX);
    const double least = dart_cut_words(model, (uint32_t)min_rank);
    const double size = budget <= 1 ? floor(budget * now) : budget;
    if (!(now > 0) || size >= least) return DART_OK;
    return dart_fail(DART_INPUT,
        "stage '%s': a size of %.0f parameters is below the minimum of %.0f that the smallest "
        "ranks need; raise %s or lower min_rank",
        stage->name, size, least, key);
}

/* The selection of a stage; gate: of the stage before it. */
static dart_status check_pick(const dart_model *model, const dart_stage *stage, const char *gate)
{
    const dart_select *rule = stage->set.select;
    const bool drops = dart_option_among(rule->options, &dart_row_drop) &&
                       dart_settings_option(&stage->set, &dart_row_drop) != 0;
    if (dart_option_among(rule->options, &dart_row_budget) && !drops &&
        dart_settings_option(&stage->set, &dart_row_budget) > 0)
        return check_size(model, stage, "budget");
    const dart_select_options options = {
        .values = dart_settings_options(&stage->set, rule->options)};
    dart_status status = rehearse(model, rule, &options, gate);
    if (status != DART_INPUT) return status;
    char why[600];
    snprintf(why, sizeof why, "%s", dart_error_text());
    return dart_fail(DART_INPUT, "stage '%s': %s", stage->name, why);
}

/* The method of a model without ranks whose ranks stay as they are; NULL: it has none like that. */
static const dart_method *fixed_of(const dart_model *model)
{
    const dart_method *fixed = NULL;
    for (uint32_t w = 0; w < model->weights; w++) {
        if (model->weight[w].layout.bonds) return NULL;
        if (model->weight[w].weight.method->fixed_ranks) fixed = model->weight[w].weight.method;
    }
    return fixed;
}

static dart_status refuse_fixed(const dart_stage *stage, const char *what, const dart_method *fixed)
{
    return dart_fail(DART_INPUT,
        "stage '%s': %s is for ranks that training finds, and method %s has ranks that stay, %s; "
        "choose lora or tt-lora for that",
        stage->name, what, fixed->name, fixed->fixed_ranks);
}

/* What is asked of ranks that stay. From scratch, where penalty and rule are defaults, they have
 * nothing to do. */
static dart_status check_fixed(const dart_model *model, const dart_stage *stage)
{
    const dart_method *fixed = fixed_of(model);
    const dart_reg *reg = dart_settings_reg(&stage->set);
    if (!fixed || !model->config.of_base || (!reg && !stage->set.select)) return DART_OK;
    return refuse_fixed(stage, reg ? reg->name : stage->set.select->name, fixed);
}

/* Ranks that are cut where a chain took a part of a pretrained matrix over: the frozen rest knows
 * nothing of it, and the model is destroyed. */
static dart_status check_apart(const dart_model *model, const dart_stage *stage)
{
    const dart_reg *reg = dart_settings_reg(&stage->set);
    const bool gated = (reg && reg->gate) || stage->set.ordered_dropout > 0;
    if (!model->config.of_base || (!stage->pick && !gated)) return DART_OK;
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        if (!weight->layout.keeps_whole) continue;
        return dart_fail(DART_INPUT,
            "stage '%s': %s takes ranks away, and those of %s hold a part of the pretrained "
            "matrix, which would be lost with them; set %s",
            stage->name,
            stage->pick ? stage->set.select->name
            : reg       ? reg->name
                        : "ordered_dropout",
            weight->weight.name, weight->layout.keeps_whole);
    }
    return DART_OK;
}

/* A stage whose ranks grow. steps: how many it has is known. */
static dart_status check_growth(const dart_model *model, const dart_stage *stage, bool steps)
{
    const dart_settings *set = &stage->set;
    const dart_reg *reg = dart_settings_reg(set);
    const char *rule = set->select->name;
    const double budget = dart_settings_option(set, &dart_row_budget);
    const double each = dart_settings_option(set, set->select->every);
    const double now = dart_cut_words(model, UINT32_MAX);
    if (!(now > 0) && fixed_of(model)) return refuse_fixed(stage, rule, fixed_of(model));
    if (!(now > 0))
        return dart_fail(DART_INPUT,
            "stage '%s': %s lets ranks grow, and the model has none; choose a method with ranks, "
            "such as lora or tt-lora",
            stage->name, rule);
    if ((reg && reg->gate) || set->ordered_dropout > 0)
        return dart_fail(DART_INPUT,
            "stage '%s': ranks grow by %s and gates (%s) choose among them; give the gates a stage "
            "of their own",
            stage->name, rule, reg && reg->gate ? reg->name : "ordered_dropout");
    if (!(budget > 1))
        return dart_fail(DART_INPUT,
            "stage '%s': %s needs a budget, the number of parameters up to which ranks grow; they "
            "begin with %.0f",
            stage->name, rule, now);
    if (steps && (double)stage->steps <= each)
        return dart_fail(DART_INPUT,
            "stage '%s': %.0f steps, and ranks grow after every %.0f of them: never; lower %s or "
            "make the stage longer",
            stage->name, (double)stage->steps, each, set->select->every->key);
    return DART_OK;
}

/* Ranks can only grow where they begin below the budget. */
static dart_status check_growth_size(const dart_model *model, const dart_stage *stage)
{
    const double budget = dart_settings_option(&stage->set, &dart_row_budget);
    const double now = dart_cut_words(model, UINT32_MAX);
    if (budget > now) return DART_OK;
    return dart_fail(DART_INPUT,
        "stage '%s': a budget of %.0f parameters leaves nothing to grow, the ranks begin with "
        "%.0f; raise budget or begin with a lower rank",
        stage->name, budget, now);
}

dart_status dart_stages_check(
    const dart_model *model, const dart_stage *stage, uint32_t stages, const dart_check_from *from)
{
    const char *gate = from->gate;
    bool other = false; /* an earlier stage leaves the model with other ranks */
    for (uint32_t s = from->stage; s < stages; s++) {
        const dart_settings *set = &stage[s].set;
        dart_session_options options;
        DART_TRY(check_fixed(model, &stage[s]));
        DART_TRY(check_apart(model, &stage[s]));
        if ((set->early_stopping_patience || set->load_best) && !set->eval_steps)
            return dart_fail(DART_INPUT,
                "%s goes by the validation loss, which is not measured while a stage trains; give "
                "--eval-steps too, the steps between evaluations",
                set->load_best ? "load_best" : "early_stopping_patience");
        if (stage[s].pick && from->picked <= s) {
            DART_TRY(check_pick(model, &stage[s], gate));
            gate = NULL;
        }
        if (stage[s].grows) DART_TRY(check_growth(model, &stage[s], from->steps));
        if (stage[s].grows && from->fresh && !other) DART_TRY(check_growth_size(model, &stage[s]));
        other |= stage[s].pick || stage[s].grows;
        DART_TRY(dart_session_options_from(set, model->config.vocab, &options));
        const bool gated = options.reg && options.reg->gate;
        if (gated && dart_settings_option(set, &dart_row_budget) > 1)
            DART_TRY(check_size(model, &stage[s], "budget (target_size)"));
        if (set->until == DART_UNTIL_PLATEAU && !(dart_cut_words(model, 1) > 0))
            return dart_fail(DART_INPUT,
                "stage '%s' waits for the ranks to stand still, and the model has none; choose a "
                "tensor-train method, or until: steps",
                stage[s].name);
        if (stage[s].steps) gate = gated ? options.reg->name : NULL;
    }
    return DART_OK;
}

/* ---- what a recipe alone says ---- */

/* Its stages; a recipe that has none yet (dart_recipe_expand) is taken for one with all it says. */
static dart_status stages_of(
    dart_recipe *recipe, dart_stage stage[DART_MAX_STAGES], uint32_t *out_count)
{
    if (recipe->stages) {
        /* How many windows there are is not known, and a bound on all steps may leave a stage
         * none. */
        DART_TRY(dart_recipe_set(recipe, "max_steps", "0"));
        return dart_recipe_stages(recipe, 1, stage, out_count);
    }
    dart_recipe_settings(recipe, &stage[0].set);
    const bool chooses = stage[0].set.select && dart_settings_compress(&stage[0].set);
    stage[0].grows = chooses && stage[0].set.select->observe;
    stage[0].pick = chooses && !stage[0].grows;
    stage[0].steps = 1;
    snprintf(stage[0].name, sizeof stage[0].name, "%s",
        stage[0].grows  ? "grow"
        : stage[0].pick ? "pick"
                        : "train");
    *out_count = 1;
    return DART_OK;
}

static bool is_read(const dart_settings *set, const dart_option_row *row)
{
    const bool measures = set->rank_measure == DART_MEASURE_COUNT;
    return dart_settings_reads(set, row) || (measures && row == &dart_row_threshold);
}

static void note_unread(
    const dart_recipe *recipe, const dart_stage *stage, uint32_t stages, dart_note note)
{
    for (int i = 0; i < dart_recipe_rows(); i++) {
        const dart_recipe_row *row = dart_recipe_row_at(i);
        const char *key = row->option.key, *fallback = row->option.fallback;
        char owners[320];
        bool any = false;
        if (!row->of_plugin) continue;
        dart_recipe_owners(row->row, owners);
        for (uint32_t s = 0; s < stages; s++) {
            const char *own = s < recipe->stages ? recipe->stage[s].value[i] : NULL;
            const bool read = is_read(&stage[s].set, row->row);
            any |= read;
            if (own && !read && !dart_recipe_same_value(i, own, fallback))
                dart_note_line(note, "stage '%s': %s has no effect, it belongs to %s",
                    stage[s].name, key, owners);
        }
        if (!any && !dart_recipe_same_value(i, recipe->value[i], fallback))
            dart_note_line(note, "%s has no effect, it belongs to %s", key, owners);
    }
}

dart_status dart_recipe_check(const dart_recipe *recipe, dart_note note)
{
    enum { VOCAB = 8 }; /* the smallest asks for the smallest sizes */
    dart_status status = DART_OK;
    dart_settings set;
    dart_model_config config;
    dart_model *model = NULL;
    dart_recipe *own;
    uint32_t stages;
    DART_TRY(dart_recipe_copy(recipe, &own));
    dart_stage *stage = dart_calloc(DART_MAX_STAGES, sizeof *stage);
    if (!stage) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(stages_of(own, stage, &stages));
    dart_recipe_settings(own, &set);
    DART_GOTO(dart_config_from(&set, VOCAB, &config));
    const dart_method *dense = dart_method_find("dense");
    if (set.embedding != dense || set.head != dense) config.strict_rank = false;
    DART_GOTO(dart_model_new(&config, NULL, &model));
    const dart_check_from from = {
        .gate = !own->stages && set.select ? set.select->gate : NULL, .fresh = true};
    DART_GOTO(dart_stages_check(model, stage, stages, &from));
    if (note.line) note_unread(own, stage, stages, note);
done:
    dart_model_free(model);
    free(stage);
    dart_recipe_free(own);
    return status;
}
