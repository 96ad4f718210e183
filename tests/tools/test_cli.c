/* The program as its users meet it: usage, help, and bad input, which gives one clear sentence on
 * stderr and its exit code. */
#include "run_cli.h"
#include "dart.h"
#include <ctype.h>
#include <pty.h>
#include <sys/ioctl.h>

static void test_usage(void **state)
{
    (void)state;
    refused("trian", 2, "did you mean 'train'");
    refused("train --lerning-rate 1e-3", 2, "did you mean --learning-rate");
    refused("train --learning-rate", 2, "needs a value");
    refused("train --epochs many", 2, "epochs");
    refused("eval", 2, "--model-path");
    refused("devices surplus", 2, "surplus");
    refused("finetune", 2, "--base");
    refused("finetune --base x.gguf", 2, "--data");
    refused("finetune --base /nowhere.gguf --data x.jsonl", 3, "/nowhere.gguf");
    refused("finetune --base x.gguf --data x.jsonl --adaptive --method dense", 2, "has none");
    refused("finetune --base x.gguf --data x.jsonl --preset tt-lora-lama-3.1-8b", 2,
        "did you mean 'tt-lora-llama-3.1-8b'");
    refused("compress --target 2x --out x", 2, "--base");
    refused("compress x --target 2x", 2, "--out");
    refused("compress x --target twice --out x", 2, "a number above 1 like 4x");
    refused("compress x --out %D/x", 2, "either a target");
    refused("compress x --target 2 --method cp --out %D/x", 2, "svd|tt|ttm");
    refused("compress x --method gptq --calibrate t --out %D/x", 2, "--base-dtype), got 'f32'");
    refused("compress x --method gptq --base-dtype nf4 --out %D/x", 2, "--calibrate");
    refused("compress x --method gptq --base-dtype nf4 --target 2 --out %D/x", 2, "leave out");
    refused("compress /nowhere --target 2 --out %D/x", 3, "/nowhere");
    refused(
        "generate a.gguf Once upon a time", 2, "takes one model, and got 'a.gguf' and 'Once'; a");
    refused("export a b --out x", 2, "takes one model");
    refused("finetune --base x --data a.jsonl --text b.txt", 2, "both say what the data are");
    refused("finetune --base x.gguf --data x.jsonl --adaptive --method full", 2, "dense has none");
    refused("export", 2, "needs a model");
    refused("export x", 2, "--out");
    refused("export /nowhere --out x", 3, "/nowhere");
    write_file("staged.yaml", "stages: [{name: shrink, max_steps: 2, lambda_reg: 0.1}]\n");
    refused("train --config %D/staged.yaml --shrnk.lr 2", 2, "unknown stage 'shrnk'");
    refused("train --config %D/staged.yaml --lambda-reg 1", 3, "write shrink.lambda_reg");
    const outcome *help = works("finetune --help");
    for (uint32_t i = 0; dart_preset_at(i, NULL); i++)
        assert_non_null(strstr(help->out, dart_preset_at(i, NULL)));
    refused("devices --limits emu-flor", 2, "did you mean 'emu-floor'");
    refused("selftest --limits emu-flor", 2, "did you mean 'emu-floor'");
    refused("bench --test dance", 2, "dance");
    refused("bench --test stpe", 2, "did you mean 'step'");
    refused("bench --format xml", 2, "md|csv|json");
    refused("bench -o xml", 2, "md|csv|json");
    refused("bench --rank 8-4", 2, "rank");
    refused("bench --rank 8,x", 2, "rank");
    refused("bench --trace t.json", 2, "--profile");
    refused("bench submit", 2, "submit-ready");
    refused("bench --file f.md", 2, "submit-ready");
    refused("train --rank 8,16", 2, "rank");
    refused("train -t 2", 2, "unknown option -t");
    refused("bench --rank 8,16 --rank x", 2, "rank");
    works("bench --rank 8,0 --rank 2 --test fwd --layers 1 --d-model 16 --heads 2 --context 8 "
          "--vocab-size 20 --device cpu -r 1"); /* the last one holds */
    refused("bench --repeats 0", 2, "repeats");
    refused("kernels --for amd:navi23,amd:navi99", 2, "unknown GPU 'amd:navi99'");
    refused("tune --device cpu", 2, "no forms of kernels");
    refused("tune --budget soon", 2, "like 90s, 5m or 1h");
    refused("tune --budget 5d", 2, "like 90s, 5m or 1h");
    refused("tune --force", 2, "--import");
    refused("tune --list --clear", 2, "one at a time");
    refused("kernels --for pi3", 2, "did you mean 'pi4'");
    refused("kernels --for ,", 2, "unknown GPU ''");
    refused("selftest --device cuda:0", 2, "cuda:0");
    setenv("DART_CPU_ISA", "v0", 1);
    refused("selftest --device cpu", 2, "unknown instruction set");
    unsetenv("DART_CPU_ISA");
    refused("train " TINY "--device vulkan:99", 2, "vulkan:99");
    refused("help dance", 2, "dance");
}

/* The one option table is behind help, man page and completion. */
/* What a command prints on a terminal of so many columns, `out` of so many bytes. */
static void on_terminal(unsigned short columns, char *out, size_t size)
{
    const struct winsize window = {.ws_row = 24, .ws_col = columns};
    int terminal, status;
    ssize_t got;
    size_t used = 0;
    const pid_t child = forkpty(&terminal, NULL, NULL, &window);
    assert_true(child >= 0);
    if (child == 0) {
        execl(DART_BINARY_DIR "/dart-llm", "dart-llm", "train", "--help", (char *)NULL);
        _exit(127);
    }
    while ((got = read(terminal, out + used, size - 1 - used)) > 0) used += (size_t)got;
    out[used] = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(terminal);
}

static void without_space(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++)
        if (!isspace((unsigned char)*from)) *to++ = *from;
    *to = 0;
}

/* Help fits a terminal, to the word, and says there what it says in a pipe. */
static void test_help_on_terminals(void **state)
{
    (void)state;
    static char text[1 << 18], piped[1 << 18];
    static const unsigned short columns[] = {40, 80, 100, 200};
    snprintf(piped, sizeof piped, "%s", works("train --help")->out);
    without_space(piped);
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
        on_terminal(columns[c], text, sizeof text);
        for (const char *line = text; *line;) {
            enum { INDENT = 33 };
            const size_t length = strcspn(line, "\r\n");
            const bool of_option = length > INDENT && line[0] == ' ';
            /* what is longer is one word */
            if (columns[c] >= 80 && of_option && length > columns[c] &&
                memchr(line + INDENT, ' ', length - INDENT))
                fail_msg("%u columns: %.*s", columns[c], (int)length, line);
            line += length;
            line += strspn(line, "\r\n");
        }
        without_space(text);
        assert_string_equal(text, piped);
    }
}

static void test_help(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "--learning-rate", "--lambda-reg", "--threshold", "--device", "--epochs"};
    const char *const commands[] = {"train --help", "help train", "help --man", "completion"};
    for (size_t c = 0; c < 4; c++) {
        outcome *r = works(commands[c]);
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            char roff[64], *to = roff; /* the man page escapes hyphens */
            for (const char *from = keys[k]; *from; from++) {
                if (c == 2 && *from == '-') *to++ = '\\';
                *to++ = *from;
            }
            *to = 0;
            if (!strstr(r->out, roff))
                fail_msg("dart-llm %s does not mention %s", commands[c], roff);
        }
    }
    works("completion");
    char check[300];
    snprintf(check, sizeof check, "bash -n %s/stdout", dir);
    assert_int_equal(system(check), 0);
    assert_non_null(strstr(works("version")->out, "dart-llm "));
    assert_non_null(strstr(works("devices")->out, "cpu"));
    const char *json = works("devices --json")->out;
    assert_non_null(strstr(json, "\"id\": \"cpu\""));
    assert_non_null(strstr(json, "\"opencl")); /* listed with a reason even where it is absent */
    assert_non_null(strstr(json, "\"vulkan"));
}

/* Every command in a text's sh blocks is one that the program takes. Quick ones are run; the slow
 * ones, listed here, are parsed with all their options (--help stops before the work), and scripts
 * have to be there. Returns how many there are. */
static uint32_t check_commands(const char *file)
{
    static const char *const slow[] = {"train", "sweep", "eval", "generate", "chat", "translate",
        "bleu", "report", "bench", "kernels", "selftest", "tokenizer", "finetune", "export",
        "compress", "tune"};
    char *text = NULL;
    size_t size = 0;
    char at[1200];
    snprintf(at, sizeof at, "%s/%s", DART_SOURCE_DIR, file);
    assert_int_equal(dart_file_read(at, &text, &size), DART_OK);
    bool inside = false;
    uint32_t seen = 0;
    for (char *line = text, *next; line; line = next) {
        char copy[1024], path[1200];
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        snprintf(copy, sizeof copy, "%s", line);
        if (strncmp(copy, "```", 3) == 0) {
            inside = strcmp(copy, "```sh") == 0;
        } else if (inside) {
            seen++;
            copy[strcspn(copy, "#")] = 0;
            if (strncmp(copy, "build/dart-llm ", 15) == 0) {
                const char *words = copy + 15;
                bool is_slow = false;
                for (size_t i = 0; i < sizeof slow / sizeof *slow; i++)
                    is_slow = is_slow || strncmp(words, slow[i], strlen(slow[i])) == 0;
                char *quoted =
                    strchr(copy, '"'); /* no shell here: an argument in quotes is dropped */
                if (quoted) *quoted = 0;
                snprintf(path, sizeof path, "%s%s %s", words, quoted ? "x" : "",
                    is_slow ? "--help" : "");
                works(path);
            } else {
                snprintf(
                    path, sizeof path, "%s/%.*s", DART_SOURCE_DIR, (int)strcspn(copy, " "), copy);
                if (access(path, X_OK) != 0) fail_msg("%s: %s is not a program", file, copy);
            }
        }
    }
    free(text);
    return seen;
}

static void test_readme(void **state)
{
    (void)state;
    assert_true(check_commands("README.md") >= 30);
    assert_true(check_commands("docs/pretrained.md") >= 10);
}

static void test_recipes(void **state)
{
    (void)state;
    write_file("typo.yaml", "model: {layers: 1, d_modle: 16}\n");
    refused("train --config %D/typo.yaml --text %D/text.txt", 3, "d_model");
    write_file("broken.yaml", "model: {layers: 1\n");
    refused("train --config %D/broken.yaml", 3, "broken.yaml");
    write_file("type.yaml", "model: {layers: few}\n");
    refused("train --config %D/type.yaml", 3, "layers");
    refused("train --config %D/absent.yaml", 3, "absent.yaml");
}

static void test_data(void **state)
{
    (void)state;
    refused("train --dataset PTB --device cpu", 3, "ptb");
    refused("train --dataset no-such-set --device cpu", 3, "no-such-set");
    refused("train --text %D/no-such.txt --device cpu", 3, "no-such.txt");
    write_file("empty.txt", "");
    refused("train --text %D/empty.txt --device cpu", 3, "empty");
}

/* A folder that lacks nothing but the words of its validation split, for texts and for pairs; sizes
 * that no ranks have, said before the first step. The others of this kind: unequal line counts and
 * bytes that are not UTF-8 (test_translation, test_protocol), unknown keys of a sweep (below). */
static void test_bad_input(void **state)
{
    (void)state;
    char path[300], command[400];
    snprintf(path, sizeof path, "%s/lacks", dir);
    assert_int_equal(dart_mkdirs(path), DART_OK);
    static const char *const files[] = {"lacks/train.txt", "lacks/test.txt", "lacks/train.source",
        "lacks/train.target", "lacks/test.source", "lacks/test.target"};
    for (int i = 0; i < 6; i++) write_file(files[i], "one two three\nfour five six\n");
    write_file("lacks/valid.txt", "");
    write_file("lacks/valid.source", "");
    write_file("lacks/valid.target", "");
    refused("train --dataset %D/lacks --device cpu", 3, "valid.txt: the validation split is empty");
    refused("train --arch encoder-decoder --dataset %D/lacks --device cpu", 3,
        "the validation split has no sentences");
    static const char *const rules[] = {"budget", "uniform", "random"};
    static const char *const gates[] = {
        "hard-concrete --select gates", "gumbel --select gumbel", "bond-diagonal --select gates"};
    for (int i = 0; i < 6; i++) {
        snprintf(command, sizeof command,
            "train %s--max-steps 2000 --out %%D/least --force --%s%s --budget 7", TINY,
            i < 3 ? "select " : "reg ", i < 3 ? rules[i] : gates[i - 3]);
        refused(command, 3, "a size of 7 parameters is below the minimum of ");
        snprintf(path, sizeof path, "%s/least/metrics.jsonl", dir);
        assert_false(dart_file_exists(path)); /* nothing was trained */
    }
    refused("train " TINY "--out %D/part --select budget --budget 0.001 --max-steps 2000", 3,
        "below the minimum of ");
    write_file("base.yaml", "model: {layers: 1}\n");
    write_file("sweep.yaml", "base: base.yaml\ngrid: {lerning_rate: [1]}\n");
    refused("sweep %D/sweep.yaml", 3, "sweep.yaml:2:");
}

static void test_models(void **state)
{
    (void)state;
    refused("train " TINY "--rank 4000 --strict-rank", 3, "rank");
    refused("train " TINY "--d-model 22 --heads 2 --max-steps 1", 3, "22");
    refused("train " TINY "--learning-rate 1e30 --max-grad-norm 0 --max-steps 50", 7, "diverged");
}

/* Commands of translation: parallel corpora, BLEU. */
static void test_translation(void **state)
{
    (void)state;
    write_file("two.de", "ein hund\nzwei hunde\n");
    write_file("one.en", "a dog\n");
    write_file("two.en", "a dog\ntwo dogs ran away , far away\n");
    write_file("odd.de", "ein hund\nzwei \xff hunde\n");
    refused("train --arch encoder-decoder --source %D/two.de --target %D/one.en", 3,
        "two.de has 2 lines");
    refused("train --arch encoder-decoder --source %D/odd.de --target %D/two.en", 3,
        "line 2 has the byte 0xff");
    refused("train --arch encoder-decoder --source %D/two.de", 3, "--target");
    refused("train --arch encoder-decoder --dataset multi30k-de-en", 3,
        "datasets/fetch multi30k-de-en");
    refused("translate", 2, "--model-path");
    refused("translate --model %D/nothing", 3, "nothing");
    refused("translate --model %D --input %D/absent.txt", 3, "absent.txt");
    refused("translate --model %D --best 0", 2, "best");
    refused("bleu %D/two.en", 2, "reference");
    refused("bleu %D/two.en %D/one.en", 3, "one.en has 1");
    refused("bleu %D/two.en %D/odd.de", 3, "0xff");
    refused("bleu %D/two.en %D/absent.txt", 3, "absent.txt");
    const outcome *r = run("bleu %D/two.en %D/two.en");
    assert_int_equal(r->code, 0);
    assert_string_equal(r->out,
        "BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:dart-" DART_VERSION
        " = 100.00 100.0/100.0/100.0/100.0 (BP = 1.000 ratio = 1.000 hyp_len = 9 ref_len = 9)\n");
    r = run("bleu --json %D/two.en %D/two.en %D/two.en");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "\"score\": 100.0"));
    assert_non_null(strstr(r->out, "nrefs:2"));
}

/* A tokenizer of our own, and back. */
static void test_tokenizer(void **state)
{
    (void)state;
    write_file("few.txt", "the theme of them then, the other thing there\n");
    write_file("ids.txt", "1 2 x\n");
    refused("tokenizer", 2, "train, encode or decode");
    refused("tokenizer train", 2, "needs a text file");
    refused("tokenizer train %D/absent.txt --out %D/tok", 3, "absent.txt");
    refused("tokenizer train %D/few.txt --vocab-size 9", 2, "vocab");
    refused("tokenizer encode text", 2, "--tokenizer");
    refused("tokenizer encode --tokenizer %D/absent text", 3, "no tokenizer at");
    assert_non_null(strstr(
        works("tokenizer train %D/few.txt --vocab-size 259 --out %D/tok")->out, ": 259 tokens"));
    refused("tokenizer decode --tokenizer %D/tok 1 x", 3, "'x' is not the id");
    refused("tokenizer decode --tokenizer %D/tok 259", 3, "259 is not the id");
    /* the special token, !, ", ... and what occurs most: th, the */
    assert_string_equal(works("tokenizer encode --tokenizer %D/tok other")->out, "79 258 82\n");
    assert_string_equal(works("tokenizer encode --tokenizer %D/tok --tokens other the")->out,
        "o\nthe\nr\n\u0120\nthe\n");
    assert_string_equal(
        works("tokenizer decode --tokenizer %D/tok 79 258 82 0")->out, "other<|endoftext|>");
    assert_string_equal(
        works("tokenizer decode --tokenizer %D/tok --skip-special 79 258 82 0")->out, "other");
}

static void test_enough(void **state)
{
    (void)state;
    expect_refusals(54);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_usage), cmocka_unit_test(test_help),
        cmocka_unit_test(test_help_on_terminals), cmocka_unit_test(test_readme),
        cmocka_unit_test(test_recipes), cmocka_unit_test(test_data),
        cmocka_unit_test(test_bad_input), cmocka_unit_test(test_models),
        cmocka_unit_test(test_translation), cmocka_unit_test(test_tokenizer),
        cmocka_unit_test(test_enough)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
