/* Text of a pretrained model: where it ends, what waits, and what a penalty changes. */
#include "../train/pretrained_lab.h"

static dart_llm *llm;

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_last_error());
}

static int open_base(void **state)
{
    dart_recipe *recipe;
    if (set_up_base(state)) return 1;
    ok(dart_recipe_new(&recipe));
    set(recipe, "tokenizer", tokenizer_path);
    set(recipe, "device", "cpu");
    set(recipe, "context", "32");
    ok(dart_llm_open(base_path,
        &(dart_llm_options){.size = sizeof(dart_llm_options), .overrides = recipe}, &llm));
    dart_recipe_free(recipe);
    return 0;
}

static int close_base(void **state)
{
    dart_llm_close(llm);
    return tear_down(state);
}

static handle_text text_of(dart_generate_options o, dart_generate_speed *speed)
{
    dart_context *context;
    handle_text out = {0};
    o.size = sizeof o;
    *speed = (dart_generate_speed){.size = sizeof *speed};
    ok(dart_context_new(llm, NULL, &context));
    ok(dart_context_generate(context, &o, handle_take, &out, speed));
    dart_context_free(context);
    return out;
}

static const dart_sampling warm = {
    .size = sizeof warm, .temperature = 1.5, .seed = 2, .repeat_penalty = 1};

/* A string of the text, of several tokens, ends it there, wherever it begins. */
static void a_string_ends_the_text(void **state)
{
    (void)state;
    dart_generate_speed speed;
    dart_generate_options o = {
        .prompt = "the", .tokens = 24, .sampling = &warm, .ignore_end = true};
    handle_text whole = text_of(o, &speed);
    assert_int_equal(speed.tokens, 24);
    assert_in_range(whole.size, 20, 200);
    for (size_t at = 0; at + 8 < whole.size; at++) {
        char words[9] = {0};
        memcpy(words, whole.text + at, 8);
        if (strlen(words) < 8) continue; /* a byte 0 of this random model */
        const char *stop[] = {"zzzzzzzz", words};
        o.stop = stop;
        o.stops = 2;
        handle_text cut = text_of(o, &speed);
        assert_true(cut.size <= at);
        assert_memory_equal(whole.text, cut.text ? cut.text : "", cut.size);
        assert_memory_equal(whole.text + cut.size, words, 8);
        free(cut.text);
    }
    const char *none[] = {""};
    o.stop = none;
    o.stops = 1;
    dart_context *context;
    o.size = sizeof o;
    ok(dart_context_new(llm, NULL, &context));
    assert_int_equal(dart_context_generate(context, &o, NULL, NULL, NULL), DART_USAGE);
    assert_non_null(strstr(dart_last_error(), "stop string 1 is empty"));
    dart_context_free(context);
    free(whole.text);
}

/* A prompt that is echoed is not looked at. */
static void the_prompt_may_have_such_a_string(void **state)
{
    (void)state;
    static const char *const stop[] = {"he a"};
    dart_generate_speed speed;
    const dart_generate_options o = {.prompt = "the ant",
        .tokens = 3,
        .echo = true,
        .sampling = &warm,
        .stop = stop,
        .stops = 1,
        .ignore_end = true};
    handle_text out = text_of(o, &speed);
    assert_int_equal(speed.tokens, 3);
    assert_non_null(strstr(out.text, "the ant"));
    free(out.text);
}

/* With a temperature as high as this each of 262 tokens comes soon enough, </s> too. */
static void an_end_token_ends_the_text(void **state)
{
    (void)state;
    uint32_t ended = 0;
    for (uint64_t seed = 0; seed < 12; seed++) {
        const dart_sampling hot = {.size = sizeof hot, .temperature = 50, .seed = seed};
        dart_generate_options o = {.prompt = "the", .tokens = 300, .sampling = &hot};
        dart_generate_speed speed;
        handle_text short_one = text_of(o, &speed);
        const uint64_t tokens = speed.tokens;
        o.ignore_end = true;
        handle_text whole = text_of(o, &speed);
        assert_int_equal(speed.tokens, 300);
        ended += tokens < 300;
        if (tokens < 300) assert_true(short_one.size < whole.size);
        free(short_one.text);
        free(whole.text);
    }
    printf("%u of 12 texts ended by themselves\n", ended);
    assert_in_range(ended, 4, 12); /* 1 - (1 - 1/262)^300 is about 0.68 */
}

/* Above all others the token that came is penalised: a greedy text repeats itself less. */
static void a_penalty_makes_other_texts(void **state)
{
    (void)state;
    dart_sampling how = {.size = sizeof how};
    dart_generate_speed speed;
    const dart_generate_options o = {
        .prompt = "the", .tokens = 24, .sampling = &how, .ignore_end = true};
    handle_text plain = text_of(o, &speed);
    how.repeat_penalty = 1;
    handle_text same = text_of(o, &speed);
    assert_int_equal(plain.size, same.size);
    assert_memory_equal(plain.text, same.text, same.size);
    how.repeat_penalty = 30;
    handle_text other = text_of(o, &speed);
    assert_true(other.size != plain.size || memcmp(other.text, plain.text, plain.size) != 0);
    free(plain.text);
    free(same.text);
    free(other.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_string_ends_the_text),
        cmocka_unit_test(the_prompt_may_have_such_a_string),
        cmocka_unit_test(an_end_token_ends_the_text),
        cmocka_unit_test(a_penalty_makes_other_texts),
    };
    return cmocka_run_group_tests(tests, open_base, close_base);
}
