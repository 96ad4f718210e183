/* dart-llm chat as its users meet it: through pipes, and on a terminal. */
#include "run_cli.h"
#include <ctype.h>
#include <jansson.h>
#include <pty.h>

#define TURNS "{\"system\": [\"S\", \"|\"], \"user\": [\"\", \"|\"], \"assistant\": [\"\", \";\"]}"
#define CHAT "chat %D/talker --device cpu --chat-template %D/turns.json --temperature 0 -n 6 "

static uint32_t count_lines(const char *text)
{
    uint32_t n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

/* Each line is a message and each answer a line; "/reset" and "/exit" are none. */
static void test_pipe(void **state)
{
    (void)state;
    char first[TEXT];
    const spawn how = {.input = "talk.txt"};
    write_file("turns.json", TURNS);
    works("train --text %D/text.txt --level byte --layers 1 --d-model 16 --heads 2 --context 64 "
          "--batch-size 4 --rank 4 --device cpu --quiet --max-steps 40 --select none "
          "--out %D/talker");
    write_file("talk.txt", "the core\n\nof a train\r\nholds");
    outcome *r = run_with(&how, CHAT);
    assert_int_equal(r->code, 0);
    assert_int_equal(count_lines(r->out), 3);
    assert_null(strchr(r->out, '>'));
    assert_string_equal(r->err, "");
    snprintf(first, sizeof first, "%.*s", (int)(strchr(r->out, '\n') + 1 - r->out), r->out);
    assert_in_range(strlen(first), 6, 7); /* an end that is not UTF-8 is not there */
    write_file("talk.txt", "the core\n/reset\nthe core\n/exit\nthe core\n");
    r = run_with(&how, CHAT);
    assert_int_equal(count_lines(r->out), 2);
    assert_memory_equal(r->out, first, strlen(first));
    assert_string_equal(r->out + strlen(first), first);
    write_file("talk.txt", "the core\n");
    char other[TEXT];
    memcpy(other, run_with(&how, CHAT "--system small")->out, sizeof other);
    r = run_with(&how, CHAT "--system small");
    assert_string_equal(r->out, other);
    printf("the answer is %s", first);
}

/* The oldest go when the context is full, and one that is longer than it is refused. */
static void test_full(void **state)
{
    (void)state;
    const spawn how = {.input = "talk.txt"};
    char line[128], many[1024] = "";
    for (int i = 0; i < 8; i++) strcat(many, "the core of a train\n");
    write_file("talk.txt", many);
    outcome *r = run_with(&how, CHAT);
    assert_int_equal(r->code, 0);
    assert_int_equal(count_lines(r->out), 8);
    assert_non_null(strstr(r->err, "(the context of 64 tokens is full: the oldest 2 messages"));
    r = run_with(&how, CHAT "--quiet");
    assert_string_equal(r->err, "");
    memset(line, 'a', 80);
    strcpy(line + 80, "\n");
    write_file("talk.txt", line);
    expect_refusal(run_with(&how, CHAT), "a long message", 3, "the context has room for 58");
}

static void test_refusals(void **state)
{
    (void)state;
    const spawn how = {.input = "talk.txt"};
    write_file("talk.txt", "the core\n");
    refused("chat", 2, "chat needs a model");
    refused("chat %D/nowhere", 3, "nowhere");
    refused("chat %D/talker --min-p 2", 2, "--min_p is a number from 0 to 1");
    refused("chat %D/talker --repeat-penalty 0", 2, "--repeat_penalty");
    refused("chat %D/talker --stop a,,b", 2, "--stop has an empty string");
    refused("generate %D/talker --stop ,", 2, "--stop has an empty string");
    expect_refusal(run_with(&how, "chat %D/talker --device cpu"), "no template", 3,
        "the tokenizer has no chat template");
    expect_refusal(run_with(&how, "chat %D/talker --device cpu --chat-template chatm"), "a name", 3,
        "did you mean 'chatml'");
}

/* The flags that generate shares. */
static void test_generate(void **state)
{
    (void)state;
#define GENERATE "generate %D/talker --device cpu -p the -n 60 --temperature 0.9 --quiet "
    char plain[TEXT], stop[400];
    memcpy(plain, works(GENERATE)->out, sizeof plain);
    assert_string_equal(plain, works(GENERATE "--min-p 0 --repeat-penalty 1 --ignore-eos")->out);
    assert_true(strcmp(plain, works(GENERATE "--repeat-penalty 9")->out) != 0);
    /* two letters behind the prompt */
    const char *pair = plain + 3;
    while (*pair && !(isalpha((unsigned char)pair[0]) && isalpha((unsigned char)pair[1]))) pair++;
    assert_int_not_equal(*pair, 0);
    snprintf(stop, sizeof stop, "%s--stop zzz,%.2s", GENERATE, pair);
    outcome *r = works(stop);
    assert_int_equal(strlen(r->out), pair - plain + 1);
    assert_memory_equal(r->out, plain, (size_t)(pair - plain));
}

/* A line of a file for each prompt or conversation, a line for each answer: the same as one by one.
 */
static void test_input(void **state)
{
    (void)state;
#define GREEDY "generate %D/talker --device cpu --temperature 0 -n 6 --quiet "
    char alone[TEXT], expected[2 * TEXT];
    const spawn talk = {.input = "talk.txt"};
    snprintf(alone, sizeof alone, "%s", works(GREEDY "-p of")->out + 2); /* without the prompt */
    write_file("prompts.txt", "\xef\xbb\xbfof\r\nthe core\nof");
    outcome *r = works(GREEDY "--input %D/prompts.txt");
    assert_int_equal(count_lines(r->out), 3);
    assert_memory_equal(r->out, alone, strlen(alone));
    assert_string_equal(r->out + strlen(r->out) - strlen(alone), alone);
    write_file("talk.txt", "the core\n");
    snprintf(expected, sizeof expected, "%s", run_with(&talk, CHAT)->out);
    write_file("prompts.jsonl", "{\"prompt\": \"of\", \"completion\": \"left out\"}\n\n"
                                "{\"messages\": [{\"role\": \"user\", \"content\": \"the core\"}, "
                                "{\"role\": \"assistant\", \"content\": \"left out\"}]}\n");
#define OBJECTS GREEDY "--chat-template %D/turns.json --input %D/prompts.jsonl "
    r = works(OBJECTS);
    assert_memory_equal(r->out, alone, strlen(alone));
    assert_string_equal(r->out + strlen(alone), expected);
    r = works(OBJECTS "--json");
    for (char *line = strtok(r->out, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *object = json_loads(line, 0, NULL);
        const bool prompt = json_object_get(object, "prompt") != NULL;
        const char *answer = json_string_value(json_object_get(object, "completion"));
        assert_non_null(answer);
        assert_memory_equal(answer, prompt ? alone : expected, strlen(answer));
        assert_int_equal(json_array_size(json_object_get(object, "messages")), prompt ? 0 : 2);
        json_decref(object);
    }
    refused(GREEDY "--input %D/nowhere.txt", 3, "cannot open");
    refused(GREEDY "--input %D", 3, "it is a folder");
    refused(GREEDY "--input %D/prompts.txt -p the", 2, "--prompt or --input, not both");
    static const char *const bad[][2] = {
        {"{\"prompt\": \"of\"}\n[1", "line 2 of the input is no JSON"},
        {"[1]", "line 1 of the input: an object with 'prompt'"}, {"{\"prompt\": 3}", "line 1"},
        {"{\"messages\": []}", "without a question"},
        {"{\"messages\": [1]}", "'role' and 'content'"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", "line 1 of the input: "}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_file("prompts.jsonl", bad[i][0]);
        refused(GREEDY "--input %D/prompts.jsonl", 3, bad[i][1]);
    }
}

/* What the program writes on a terminal up to and with `phrase`. */
static void await(int terminal, char text[TEXT], size_t *used, const char *phrase)
{
    while (!strstr(text, phrase)) {
        const ssize_t n = read(terminal, text + *used, TEXT - 1 - *used);
        if (n <= 0) fail_msg("the terminal has no '%s', only:\n%s", phrase, text);
        text[ *used += (size_t)n] = 0;
    }
}

/* A prompt for each message; Ctrl-C at one ends the program, and that is no failure. */
static void test_terminal(void **state)
{
    (void)state;
    static char text[TEXT];
    size_t used = 0;
    int terminal, status;
    char model[300], turns[300];
    snprintf(model, sizeof model, "%s/talker", dir);
    snprintf(turns, sizeof turns, "%s/turns.json", dir);
    const pid_t child = forkpty(&terminal, NULL, NULL, NULL);
    assert_true(child >= 0);
    if (child == 0) {
        setenv("HOME", dir, 1);
        execl(DART_BINARY_DIR "/dart-llm", "dart-llm", "chat", model, "--device", "cpu",
            "--chat-template", turns, "-n", "6", (char *)NULL);
        _exit(127);
    }
    alarm(60);
    await(terminal, text, &used, "> ");
    assert_int_equal(write(terminal, "the core\n", 9), 9);
    await(terminal, text, &used, "\n> ");
    used = 0;
    char longer[100];
    memset(longer, 'a', 80);
    longer[80] = '\n';
    text[0] = 0;
    assert_int_equal(write(terminal, longer, 81), 81); /* refused, and the talk goes on */
    await(terminal, text, &used, "has room for 58");
    await(terminal, text, &used, "\n> ");
    assert_int_equal(write(terminal, "\x03", 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    alarm(0);
    close(terminal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pipe), cmocka_unit_test(test_full),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_generate),
        cmocka_unit_test(test_input), cmocka_unit_test(test_terminal)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
