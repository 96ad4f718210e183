/* The program as its users meet it: bad input gives one clear sentence on stderr and its exit code.
 * Runs the built dart-llm on a small text of our own making. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "file.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ARGS = 48, TEXT = 16384 };

static char
    dir[256]; /* scratch folder, also HOME, so that caches do not leak between tests and users */

typedef struct outcome {
    int code; /* exit code, or 128 + signal */
    char out[TEXT], err[TEXT];
} outcome;

static void read_text(const char *path, char text[TEXT])
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, TEXT - 1, file)] = 0;
    fclose(file);
}

typedef struct spawn {
    uint64_t file_limit; /* largest file the child may write; 0: no limit */
    const char
        *signal_when; /* a file below the scratch folder: once it is there, `signal` is sent */
    int signal;
} spawn;

/* Runs dart-llm with the words of `line` (separated by spaces; %D stands for the scratch folder).
 */
static outcome *run_with(const spawn *how, const char *line)
{
    static outcome result;
    char words[4096], *argv[MAX_ARGS] = {DART_BINARY_DIR "/dart-llm"}, out[300], err[300];
    size_t n = 0;
    for (const char *c = line; *c && n + sizeof dir < sizeof words; c++) {
        if (c[0] == '%' && c[1] == 'D')
            n += (size_t)sprintf(words + n, "%s", dir), c++;
        else
            words[n++] = *c;
    }
    words[n] = 0;
    int argc = 1;
    for (char *word = strtok(words, " "); word && argc < MAX_ARGS - 1; word = strtok(NULL, " "))
        argv[argc++] = word;
    snprintf(out, sizeof out, "%s/stdout", dir);
    snprintf(err, sizeof err, "%s/stderr", dir);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int o = open(out, O_CREAT | O_TRUNC | O_WRONLY, 0600),
            e = open(err, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        dup2(o, 1);
        dup2(e, 2);
        setenv("HOME", dir, 1);
        unsetenv("XDG_CACHE_HOME");
        unsetenv("DART_DATA");
        if (chdir(dir) != 0) _exit(126); /* so that ../shared is not found either */
        if (how && how->file_limit) {
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){how->file_limit, how->file_limit});
            signal(SIGXFSZ,
                SIG_IGN); /* the write then fails with EFBIG, as a full disk fails with ENOSPC */
        }
        execv(argv[0], argv);
        _exit(127);
    }
    if (how && how->signal_when) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", dir, how->signal_when);
        for (int i = 0; i < 6000 && access(path, F_OK) != 0; i++) usleep(10000);
        usleep(100000); /* a few steps more */
        kill(child, how->signal);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    read_text(out, result.out);
    read_text(err, result.err);
    return &result;
}

static outcome *run(const char *line)
{
    return run_with(NULL, line);
}

static uint32_t failures_seen; /* how many refusals were really looked at */

/* One line on stderr, beginning with the program's name and holding `phrase`; the exit code;
 * nothing on stdout. */
static void expect_refusal(const outcome *r, const char *line, int code, const char *phrase)
{
    size_t length = strlen(r->err);
    const char *last = length ? r->err + length - 1 : r->err;
    bool one_line = length > 1 && *last == '\n' && memchr(r->err, '\n', length - 1) == NULL;
    if (r->code != code || !one_line || strncmp(r->err, "dart-llm: ", 10) != 0 ||
        !strstr(r->err, phrase))
        fail_msg(
            "dart-llm %s\n  expected exit %d, one line with '%s'\n  got exit %d and stderr:\n%s",
            line, code, phrase, r->code, r->err);
    failures_seen++;
}

static void refused(const char *line, int code, const char *phrase)
{
    expect_refusal(run(line), line, code, phrase);
}

static outcome *works(const char *line)
{
    outcome *r = run(line);
    if (r->code != 0) fail_msg("dart-llm %s\n  exit %d, stderr:\n%s", line, r->code, r->err);
    return r;
}

/* ---- a text and a model small enough for a fraction of a second ---- */

static void make_text(void)
{
    static const char *const words[] = {"the", "core", "of", "a", "train", "holds", "few",
        "numbers", "rank", "falls", "when", "penalty", "grows", "and", "loss", "stays", "low", "so",
        "small", "models", "fit", "boards"};
    char path[300];
    snprintf(path, sizeof path, "%s/text.txt", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    uint32_t x = 1;
    for (int line = 0; line < 600; line++) {
        for (int i = 0; i < 9; i++) {
            x = x * 1664525u + 1013904223u;
            fprintf(file, "%s%s", i ? " " : "", words[(x >> 16) % 22]);
        }
        fputc('\n', file);
    }
    assert_int_equal(fclose(file), 0);
}

#define TINY                                                                                       \
    "--text %D/text.txt --layers 1 --d-model 16 --heads 2 --context 16 --batch-size 4 --rank 4 "   \
    "--device cpu --quiet "

static void write_file(const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/dart-cli-XXXXXX");
    assert_non_null(mkdtemp(dir));
    make_text();
    printf("data: a made-up text of 600 lines\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(dir) != DART_OK;
}

/* ---- usage ---- */

static void test_usage(void **state)
{
    (void)state;
    refused("trian", 2, "did you mean 'train'");
    refused("train --lerning-rate 1e-3", 2, "did you mean --learning-rate");
    refused("train --learning-rate", 2, "needs a value");
    refused("train --epochs many", 2, "epochs");
    refused("eval", 2, "--model-path");
    refused("devices surplus", 2, "surplus");
    refused("devices --limits emu-flor", 2, "did you mean 'emu-floor'");
    refused("selftest --limits emu-flor", 2, "did you mean 'emu-floor'");
    refused("bench --test dance", 2, "dance");
    refused("bench --test stpe", 2, "did you mean 'step'");
    refused("bench --format xml", 2, "md|json");
    refused("bench --repeats 0", 2, "repeats");
    refused("selftest --device cuda:0", 2, "cuda:0");
    setenv("DART_CPU_ISA", "v0", 1);
    refused("selftest --device cpu", 2, "unknown instruction set");
    unsetenv("DART_CPU_ISA");
    refused("train " TINY "--device vulkan:99", 2, "vulkan:99");
    refused("help dance", 2, "dance");
}

/* The one option table is behind help, man page and completion. */
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

/* Every command in the README's sh blocks is one that the program takes. Quick ones are run; the
 * slow ones, listed here, are parsed with all their options (--help stops before the work), and
 * scripts have to be there. */
static void test_readme(void **state)
{
    (void)state;
    static const char *const slow[] = {
        "train", "sweep", "eval", "generate", "translate", "bleu", "report", "bench", "selftest"};
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(dart_file_read(DART_SOURCE_DIR "/README.md", &text, &size), DART_OK);
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
                if (access(path, X_OK) != 0) fail_msg("README: %s is not a program", copy);
            }
        }
    }
    free(text);
    assert_true(seen >= 10);
}

/* ---- bad input ---- */

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

/* ---- a run and its damage ---- */

#define RUN "train " TINY "--out %D/run --max-steps 12 --save-steps 4 "

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

static void newest_checkpoint(char out[600])
{
    char command[700];
    snprintf(command, sizeof command, "ls -d %s/run/checkpoints/step-* | sort -V | tail -1", dir);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_non_null(fgets(out, 600, pipe));
    assert_int_equal(pclose(pipe), 0);
    out[strcspn(out, "\n")] = 0;
}

/* Changes the byte at `at` (from the end if negative); cuts the file there instead when `cut`. */
static void damage(const char *path, long at, bool cut)
{
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    if (cut) {
        assert_int_equal(ftruncate(fileno(file), ftell(file)), 0);
    } else {
        int byte = fgetc(file);
        assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
        fputc(byte ^ 0x10, file);
    }
    assert_int_equal(fclose(file), 0);
}

/* Every table says what was scored, how; characters and bytes also in bits. */
static void test_protocol(void **state)
{
    (void)state;
    outcome *r = works("train " TINY "--max-steps 4 --select none --level char --out %D/char");
    assert_non_null(strstr(r->out, "valid bits/char"));
    assert_non_null(strstr(r->out, "perplexity per character"));
    assert_non_null(strstr(r->out, "windows of 16, no overlap: 1 to 16 tokens"));
    r = works("eval --device cpu --model-path %D/char --eval-stride 4");
    assert_non_null(strstr(r->out, "bits per character"));
    assert_non_null(strstr(r->out, "each token scored once (valid "));
    assert_non_null(strstr(r->out, "windows of 16, stride 4: 13 to 16 tokens"));
    r = works("eval --device cpu --model-path %D/char --eval-stride 4 --json");
    assert_non_null(strstr(r->out, "\"bits\""));
    assert_non_null(strstr(r->out, "\"stride\": 4"));
    refused("eval --device cpu --quiet --model-path %D/char --eval-stride 17", 3, "--eval-stride");
    works("train " TINY "--max-steps 2 --select none --out %D/word");
    assert_null(strstr(works("eval --device cpu --model-path %D/word")->out, "bits"));
    write_file("latin1.txt", "one two three\nf\xfcnf sechs sieben\n");
    refused("train --text %D/latin1.txt --level word --device cpu", 3, "line 2, byte 15");
}

/* Three selections for each stage after it; the parts are what the total is made of, the second
 * one finds all kernels of the first, and a first one launches what its device's tables say. */
static void bench_pick(void)
{
    const char *line = "bench --test pick --device cpu,opencl:0 --layers 1 --d-model 32 --heads 2 "
                       "--context 16 --batch-size 2 --vocab-size 50 --rank 4 -r 2 --format csv";
    static const char *const kinds[] = {"first", "same ranks", "other ranks"};
    char text[TEXT], *rest = NULL;
    uint32_t rows = 0;
    memcpy(text, works(line)->out, sizeof text);
    for (char *row = strtok_r(text, "\n", &rest); row; row = strtok_r(NULL, "\n", &rest)) {
        char device[32], penalty[32], kind[32];
        unsigned layers, bonds, runs, made, found, before, launches;
        double ms[9];
        int cells = sscanf(row,
            "pick,%31[^,],%u,%u,%31[^,],%31[^,],%u,%lf,%lf,%lf,%lf,%lf,%lf,%lf,%lf,%lf,%u,%u,%u,%u",
            device, &layers, &bonds, penalty, kind, &runs, &ms[0], &ms[1], &ms[2], &ms[3], &ms[4],
            &ms[5], &ms[6], &ms[7], &ms[8], &made, &found, &before, &launches);
        if (cells != 19) continue; /* a header, or the row of a device that is not there */
        assert_string_equal(kind, kinds[rows % 3]);
        assert_string_equal(penalty, rows % 6 < 3 ? "none" : "bond-nuclear");
        assert_int_equal(runs, 2);
        assert_int_equal(layers, 1);
        assert_true(bonds > 0 && before > 0 && launches > 0 && ms[0] > 0 && ms[3] > 0);
        assert_true(rows % 6 < 3 ? launches < before : true);
        double sum = ms[1] + ms[2] + ms[3] + ms[4] + ms[5];
        assert_true(ms[6] > 0 && ms[6] <= ms[7] && sum > 0.999 * ms[6] && sum < 1.001 * ms[6]);
        if (!strcmp(kind, "same ranks")) assert_int_equal(made, 0);
        assert_true(strcmp(device, "cpu") ? found > 0 : found == 0);
        rows++;
    }
    printf("bench pick: %u rows\n", rows);
    assert_true(rows == 6 || rows == 12); /* without or with OpenCL */
    assert_non_null(
        strstr(works("bench --test pick --device cpu --model %D/run -r 1 --format json")->out,
            "\"beyond_svd_ms\""));
    refused("bench --test pick --device cpu --linear dense --layers 1", 3, "no ranks to select");
}

static void test_run(void **state)
{
    (void)state;
    outcome *r = works(RUN);
    assert_non_null(strstr(r->out, "run directory"));
    assert_non_null(strstr(works("eval --device cpu --model-path %D/run")->out, "perplexity"));
    r = works("generate --device cpu --model-path %D/run --prompt the --tokens 8 --seed 3");
    char first[TEXT];
    memcpy(first, r->out, sizeof first);
    assert_true(strlen(first) > 3);
    assert_string_equal(first,
        works("generate --device cpu --model-path %D/run --prompt the --tokens 8 --seed 3")->out);
    /* the forms of the weights change the speed, not the text; past the context by each way */
    for (int i = 0; i < 3; i++) {
        static const char *const lines[] = {
            "generate --device cpu --model-path %D/run -p the -n 8 --seed 3 --infer-weights cores",
            "generate --device cpu --model-path %D/run -p the -n 8 --seed 3 --infer-weights halves",
            "generate --device cpu --model-path %D/run -p the -n 8 --seed 3 --infer-weights dense"};
        assert_string_equal(first, works(lines[i])->out);
    }
    r = works("generate --device cpu --model-path %D/run -p the -n 90 --overflow stop");
    assert_non_null(strstr(r->err, "tokens/s"));
    char stopped[TEXT];
    snprintf(stopped, sizeof stopped, "%s", r->out);
    r = works("generate --device cpu --model-path %D/run -p the -n 90 --overflow shift");
    assert_true(strlen(r->out) > strlen(stopped));
    assert_memory_equal(r->out, stopped, strlen(stopped) - 1); /* but its newline */
    r = works("generate --device cpu --model-path %D/run -p the -n 90 --json");
    assert_non_null(strstr(r->out, "\"tokens\": 90"));
    refused("generate --model-path %D/run --overflow wrap", 2, "slide|shift|stop");
    assert_non_null(
        strstr(works("inspect ranks --device cpu --model-path %D/run")->out, "blocks.0"));
    /* header, then prompt and tokens of the dense twin and of four forms */
    r = works("bench --test infer --device cpu --model %D/run -p 9 -n 5 -r 2 --format csv");
    uint32_t lines = 0;
    for (const char *c = r->out; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, 1 + 2 * 5);
    assert_non_null(strstr(r->out, "dense twin,"));
    assert_non_null(strstr(r->out, ",halves,cpu,"));
    assert_non_null(strstr(r->out, "infer,tg5,"));
    r = works("bench --test infer,eval --device cpu --model %D/run -p 9 -n 5 -r 2 --format json");
    assert_non_null(strstr(r->out, "\"resident_bytes\""));
    assert_non_null(strstr(r->out, "\"eval\""));
    bench_pick();
    works("report %D/run");
    char path[300], html[TEXT];
    snprintf(path, sizeof path, "%s/run/report.html", dir);
    read_text(path, html);
    assert_non_null(strstr(html, "<svg"));
    assert_null(strstr(html, "<script"));
    r = works("report --csv %D/tables --tensorboard %D/board --svg %D/pictures %D/run");
    assert_non_null(strstr(r->out, "/tables\n"));
    assert_null(strstr(r->out, "report.html"));
    snprintf(path, sizeof path, "%s/tables/metrics.csv", dir);
    assert_true(dart_file_exists(path));
    snprintf(path, sizeof path, "%s/pictures/loss.svg", dir);
    assert_true(dart_file_exists(path));
    refused("report %D/no-such-run", 3, "there is no run directory");
    refused("report %D/tables", 3, "is no run directory: it has no metrics.jsonl");
    refused("report", 2, "report needs a run directory");
    refused("eval --model-path %D/no-such-run", 3, "no-such-run");
}

static void test_damaged_checkpoint(void **state)
{
    (void)state;
    char checkpoint[600], file[700], line[900];
    newest_checkpoint(checkpoint);
    snprintf(file, sizeof file, "%s/model.safetensors", checkpoint);
    snprintf(line, sizeof line, "eval --device cpu --model-path %s", checkpoint);
    works(line);
    damage(file, -5, false); /* one bit of one weight: only the checksum can tell */
    refused(line, 3, "checksum");
    damage(file, -5, false);
    works(line);
    damage(file, -400, true);
    refused(line, 3, "model.safetensors");
}

/* The disk fills up while a checkpoint is written: the run stops with exit 6 and the older
 * checkpoint still loads. */
static void test_disk_full(void **state)
{
    (void)state;
    char path[300], command[700], size_text[64];
    const char *first =
        "train " TINY "--out %D/full --max-steps 1000000 --save-steps 20 --logging-steps 1000000";
    spawn stop = {.signal_when = "full/checkpoints", .signal = SIGTERM};
    assert_int_equal(run_with(&stop, first)->code, 143);
    snprintf(path, sizeof path, "%s/full/checkpoints", dir);
    snprintf(command, sizeof command,
        "find %s -name '*.safetensors' -printf '%%s\\n' | sort -n | tail -1", path);
    FILE *pipe = popen(command, "r");
    assert_non_null(fgets(size_text, sizeof size_text, pipe));
    pclose(pipe);
    spawn how = {.file_limit = strtoull(size_text, NULL, 10) - 1};
    const char *line = "train " TINY "--out %D/full --resume";
    expect_refusal(run_with(&how, line), line, 6, "optimizer.safetensors");
    assert_non_null(strstr(works("eval --device cpu --model-path %D/full")->out, "perplexity"));
}

static void test_signals(void **state)
{
    (void)state;
    static const struct {
        int signal, code;
    } cases[] = {{SIGINT, 130}, {SIGTERM, 143}};
    for (size_t i = 0; i < 2; i++) {
        char line[512];
        snprintf(
            line, sizeof line, "%s--out %s/stop%zu --max-steps 1000000", "train " TINY, dir, i);
        char log[32];
        snprintf(log, sizeof log, "stop%zu/metrics.jsonl", i);
        spawn how = {.signal_when = log, .signal = cases[i].signal};
        outcome *r = run_with(&how, line);
        if (r->code != cases[i].code)
            fail_msg("exit %d instead of %d: %s", r->code, cases[i].code, r->err);
        snprintf(line, sizeof line, "eval --device cpu --model-path %%D/stop%zu", i);
        works(line); /* it left a checkpoint */
    }
}

static void test_enough(void **state)
{
    (void)state;
    printf("%u refusals were checked\n", failures_seen);
    assert_true(failures_seen >= 56);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_usage), cmocka_unit_test(test_help),
        cmocka_unit_test(test_readme), cmocka_unit_test(test_recipes), cmocka_unit_test(test_data),
        cmocka_unit_test(test_bad_input), cmocka_unit_test(test_models),
        cmocka_unit_test(test_translation), cmocka_unit_test(test_protocol),
        cmocka_unit_test(test_run), cmocka_unit_test(test_damaged_checkpoint),
        cmocka_unit_test(test_disk_full), cmocka_unit_test(test_signals),
        cmocka_unit_test(test_enough)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
