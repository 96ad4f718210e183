/* Whole runs of the program: what is printed of training, evaluation, text, measurements and
 * reports, and what damage, a full disk and signals leave behind. */
#include "run_cli.h"
#include <jansson.h>

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

#define RUN "train " TINY "--out %D/run --max-steps 12 --save-steps 4 "

static double figure(const json_t *row, const char *key)
{
    return json_number_value(json_object_get(row, key));
}

/* Three selections for each stage after it; the parts are what the total is made of, the second
 * one finds all kernels of the first, and a first one launches what its device's tables say. */
/* A row a kernel where the GPU's compiler is installed; what to install where it is not. */
static void kernels(void)
{
    const char *line = "kernels --for amd:navi21,intel:none --layers 1 --d-model 32 --heads 2";
    refused(line, 2, "unknown GPU 'intel:none'");
    const outcome *r =
        run("kernels --for amd:navi21 --layers 1 --d-model 32 --heads 2 --context 16");
    if (r->code == 5) {
        printf("kernels: skipped: %s", r->err);
        assert_non_null(strstr(r->err, "mesa-vulkan-drivers"));
        return;
    }
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, " 0 not made"));
    uint32_t rows = 0, widest = 0;
    for (const char *c = r->out; *c; c += strcspn(c, "\n") + 1, rows++)
        if (strcspn(c, "\n") > widest) widest = (uint32_t)strcspn(c, "\n");
    printf("kernels: %u lines, %u wide\n", rows, widest);
    assert_true(rows > 30 && widest <= 100);
    r = works("kernels --for amd:navi21 --model %D/run --format csv");
    assert_non_null(strstr(r->out, "\namd:navi21,gemm"));
}

static void bench_pick(void)
{
    const char *line = "bench --test pick --device cpu,opencl:0 --layers 1 --d-model 32 --heads 2 "
                       "--context 16 --batch-size 2 --vocab-size 50 --rank 4 -r 2 --format json";
    static const char *const kinds[] = {"first", "same ranks", "other ranks"};
    static const char *const parts[] = {
        "graphs_ms", "paths_ms", "plan_ms", "program_ms", "copies_ms"};
    json_t *body = json_loads(works(line)->out, 0, NULL), *row;
    const json_t *list = json_object_get(body, "results");
    const size_t devices = json_array_size(list) / 6; /* one, or with OpenCL two */
    uint32_t rows = 0;
    size_t i;
    json_array_foreach(list, i, row)
    {
        const char *kind = json_string_value(json_object_get(row, "selection"));
        const char *device = json_string_value(json_object_get(row, "device"));
        const bool last = rows < 3 * devices;
        assert_string_equal(kind, kinds[rows / devices % 3]);
        assert_string_equal(device, rows % devices ? "opencl:0" : "cpu");
        assert_string_equal(
            json_string_value(json_object_get(row, "penalty")), last ? "none" : "bond-nuclear");
        assert_true(figure(row, "runs") == 2 && figure(row, "layers") == 1);
        assert_true(figure(row, "bonds") > 0 && figure(row, "launches_before") > 0);
        assert_true(figure(row, "launches") > 0 && figure(row, "svd_ms") > 0);
        assert_true(!last || figure(row, "launches") < figure(row, "launches_before"));
        double sum = 0, beyond = figure(row, "beyond_svd_ms");
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) sum += figure(row, parts[k]);
        assert_true(beyond > 0 && beyond <= figure(row, "median_ms"));
        assert_true(sum > 0.999 * beyond && sum < 1.001 * beyond);
        if (!strcmp(kind, "same ranks")) assert_true(figure(row, "kernels_made") == 0);
        assert_true(strcmp(device, "cpu") ? figure(row, "kernels_found") > 0
                                          : figure(row, "kernels_found") == 0);
        rows++;
    }
    json_decref(body);
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
    snprintf(stopped, sizeof stopped, "%.65535s", r->out);
    r = works("generate --device cpu --model-path %D/run -p the -n 90 --overflow shift");
    assert_true(strlen(r->out) > strlen(stopped));
    assert_memory_equal(r->out, stopped, strlen(stopped) - 1); /* but its newline */
    r = works("generate --device cpu --model-path %D/run -p the -n 90 --json");
    assert_non_null(strstr(r->out, "\"tokens\": 90"));
    /* bytes that are not UTF-8, in a path here, are told apart from letters */
    char odd[300], whole[300];
    snprintf(odd, sizeof odd, "%s/r\xf6\\n", dir);
    snprintf(whole, sizeof whole, "%s/run", dir);
    assert_int_equal(symlink(whole, odd), 0);
    r = works("eval --device cpu --model-path %D/r\xf6\\n --json");
    assert_non_null(strstr(r->out, "\"model_escaped\": true"));
    assert_non_null(strstr(r->out, "/r\\\\xf6\\\\\\\\n\""));
    assert_null(strstr(works("eval --device cpu --model-path %D/run --json")->out, "escaped"));
    refused("generate --model-path %D/run --overflow wrap", 2, "slide|shift|stop");
    assert_non_null(
        strstr(works("inspect ranks --device cpu --model-path %D/run")->out, "blocks.0"));
    /* header, then prompt and tokens of the dense twin and of four forms */
    r = works("bench --test infer --device cpu --model %D/run -p 9 -n 5 -r 2 --format csv");
    uint32_t lines = 0;
    for (const char *c = r->out; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, 1 + 2 * 5);
    assert_non_null(strstr(r->out, "dense twin,"));
    assert_non_null(strstr(r->out, ",halves,f32,cpu,"));
    assert_non_null(strstr(r->out, "infer,tg5,"));
    r = works("bench --test infer,eval --device cpu --model %D/run -p 9 -n 5 -r 2 --format json");
    assert_non_null(strstr(r->out, "\"resident_bytes\""));
    assert_non_null(strstr(r->out, "\"fwd\""));
    /* lists and ranges of keys, and of what is bench's own; a file to post */
#define SMALL "--layers 1 --d-model 16 --heads 2 --context 8 --vocab-size 20 -r 1 --device cpu "
    r = works("bench --test fwd " SMALL "--rank 2-4*2 --batch-size 1,2 -o jsonl");
    lines = 0;
    for (const char *c = r->out; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, 4);
    assert_non_null(strstr(r->out, "\"grid\":\"rank=4 batch_size=2\""));
    r = works("bench --test infer " SMALL "-p 3,4 -n 2 -d 0,1 -t 1 --linear dense -o csv");
    assert_non_null(strstr(r->out, "pp4 @ d1,prompt=4 depth=1,"));
    works("bench submit-ready " SMALL "--rank 2 --file %D/post.md");
    refused("bench submit-ready " SMALL "--file %D/post.md", 3, "is there already");
    bench_pick();
    kernels();
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

/* A run made smaller, and trained on from there. */
static void test_compress(void **state)
{
    (void)state;
    const outcome *r = works("compress --base %D/run --modules *.mlp.* --method svd --target 1.5x "
                             "--out %D/small --quiet");
    assert_non_null(strstr(r->out, "blocks.0.mlp.up"));
    assert_null(strstr(r->out, "attn"));
    assert_non_null(strstr(r->out, "times smaller; the model: "));
    refused("compress %D/run --target 1.5x --out %D/small", 3, "has files in it");
    r = works("compress %D/run --modules mlp --epsilon 0.9 --out %D/smaller --quiet --json");
    assert_non_null(strstr(r->out, "\"parameters_after\""));
    assert_non_null(strstr(r->out, "\"output_error\": null"));
    assert_non_null(strstr(works("eval --device cpu %D/small --text %D/text.txt")->out, "test"));
    works("inspect ranks --device cpu --model-path %D/small");
    works("finetune --base %D/small --text %D/text.txt --device cpu --max-steps 4 --adaptive "
          "--budget 0.9 --out %D/healed --quiet");
    assert_non_null(strstr(works("eval --device cpu %D/healed")->out, "test"));
    works("train --init-from %D/small --text %D/text.txt --max-steps 2 --compare cpu,cpu");
    works("inspect ranks --init-from %D/small --device cpu");
    works("bench --test eval --init-from %D/small --device cpu -r 1 --format csv");
    refused("train --resume --out %D/small --text %D/text.txt --force", 3, "was not trained");
}

/* A run as a base whose matrices are rounded for the format that it is kept in. */
static void test_round(void **state)
{
    (void)state;
    works("tokenizer train " DART_SOURCE_DIR "/LICENSE --vocab-size 300 --out %D/bpe");
    works("train --text %D/text.txt --tokenizer %D/bpe --arch llama --layers 1 --d-model 64 "
          "--heads 2 --d-ff 96 --context 16 --batch-size 4 --linear dense --device cpu --quiet "
          "--max-steps 4 --select none --out %D/whole");
#define ROUND "compress %D/whole --method gptq --base-dtype nf4 --calibrate %D/text.txt "
    outcome *r = works(ROUND "--calibrate-tokens 300 --out %D/rounded --quiet");
    assert_non_null(strstr(r->out, "6 matrices, 28,672 numbers of nf4"));
    assert_non_null(strstr(r->out, "as it is")); /* the one with rows of 96 */
    r = works(ROUND "--modules attention --out %D/json --quiet --json");
    assert_non_null(strstr(r->out, "\"dtype\": \"nf4\""));
    assert_non_null(strstr(r->out, "\"plain_output_error\": 0."));
    works("finetune --base %D/rounded --base-dtype nf4 --base-embedding-dtype q8_0 --text "
          "%D/text.txt --device cpu --max-steps 2 --context 16 --out %D/beside --quiet");
    refused("compress %D/run --method gptq --base-dtype q4_0 --calibrate %D/text.txt --out %D/no",
        3, "are no tokenizer");
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
    expect_refusals(10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_protocol), cmocka_unit_test(test_run),
        cmocka_unit_test(test_compress), cmocka_unit_test(test_round),
        cmocka_unit_test(test_damaged_checkpoint), cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_signals), cmocka_unit_test(test_enough)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
