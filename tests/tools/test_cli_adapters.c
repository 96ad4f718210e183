/* Adapters and the best model on the command line: what is printed of them. */
#include "run_cli.h"

#define PEFT DART_SOURCE_DIR "/tests/core/store/peft/"
#define BASE " --device cpu --base " PEFT "base --context 16 --text " DART_SOURCE_DIR "/LICENSE "
#define ADAPTER " --adapter " PEFT "adapter "

static double number_behind(const char *text, const char *word)
{
    const char *at = strstr(text, word);
    assert_non_null(at);
    return strtod(at + strlen(word), NULL);
}

static void with_and_without(void **state)
{
    (void)state;
    const double plain = number_behind(works("eval" BASE "--json")->out, "\"perplexity\": ");
    outcome *r = works("eval" BASE ADAPTER "--without-adapter --json");
    const double adapted = number_behind(r->out, "\"perplexity\": ");
    const char *beside = strstr(r->out, "\"without_adapter\"");
    assert_non_null(beside);
    assert_true(number_behind(beside, "\"perplexity\": ") == plain && adapted != plain);
    assert_non_null(strstr(r->err, "6 weights, ranks 3 to 5"));
    r = works("eval" BASE ADAPTER "--without-adapter");
    assert_non_null(strstr(r->out, "valid, without adapter"));
    assert_non_null(strstr(r->out, "test, without adapter"));
    refused("eval --device cpu --without-adapter %D/nothing", 3, "nothing");
}

static void generate_and_export(void **state)
{
    (void)state;
    assert_non_null(
        strstr(works("generate" BASE ADAPTER "--prompt ab --tokens 4 --json")->out, "\"text\""));
    outcome *r = works("export" BASE ADAPTER "--out %D/again");
    assert_non_null(strstr(r->out, "640 numbers"));
    /* what was written again is the same adapter */
    const double one = number_behind(works("eval" BASE ADAPTER "--json")->out, "\"nll\": ");
    const double again =
        number_behind(works("eval" BASE "--json --adapter %D/again")->out, "\"nll\": ");
    assert_true(one - again < 1e-5 && again - one < 1e-5);
    refused("generate" BASE "--adapter " PEFT "base", 3, "neither a run directory");
    refused("generate" BASE "--adapter " PEFT "adapter=x", 2, "scale of an adapter");
}

static void best_model(void **state)
{
    (void)state;
    outcome *r = works("finetune" BASE ADAPTER "--max-steps 4 --eval-steps 2 --load-best true "
                       "--out %D/best");
    assert_non_null(strstr(r->err, "the run's model is that of step"));
    r = works("eval --device cpu %D/best --without-adapter");
    assert_non_null(strstr(r->err, "the best validation loss"));
    assert_non_null(strstr(r->out, "test, without adapter"));
    assert_non_null(
        strstr(works("generate --device cpu %D/best --tokens 2")->err, "the best validation loss"));
    r = works("finetune" BASE ADAPTER "--adaptive --budget 0.6 --max-steps 10 --out %D/found");
    assert_non_null(strstr(r->err, "selected ranks by budget"));
    /* a run knows its base by itself, and what was said again is what it says */
    works("finetune --resume --out %D/found");
    works("finetune" BASE ADAPTER "--adaptive --budget 0.6 --max-steps 10 --resume --out %D/found");
    refused("finetune --resume --out %D/nowhere", 3, "there is no run in");
    refused("finetune" BASE "--max-steps 4 --load-best true --out %D/none", 3, "--eval-steps");
}

/* A base is measured as it is, in the dtype that it is kept in. */
static void benches_its_base(void **state)
{
    (void)state;
    const char *bench =
        "bench --device cpu --base " PEFT "base --method lora --test step --repeats "
        "1 --context 16 --format json --no-reference --base-dtype ";
    char command[1024];
    snprintf(command, sizeof command, "%sf32", bench);
    outcome *r = works(command);
    assert_non_null(strstr(r->out, "\"dtype\": \"f32\""));
    const double plain = number_behind(r->out, "\"planned_bytes\": ");
    snprintf(command, sizeof command, "%sf16", bench);
    r = works(command);
    assert_non_null(strstr(r->out, "\"dtype\": \"f16\""));
    assert_true(number_behind(r->out, "\"planned_bytes\": ") < plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(with_and_without),
        cmocka_unit_test(generate_and_export), cmocka_unit_test(best_model),
        cmocka_unit_test(benches_its_base)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
