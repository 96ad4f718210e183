// Continues a text with a trained model, in C++11: handles in unique_ptr, a sink that is a stream.
// usage: generate MODEL [PROMPT [TOKENS]]
#include <csignal>
#include <cstdlib>
#include <dart.h>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

namespace
{

struct closer {
    void operator()(dart_llm *llm) const
    {
        dart_llm_close(llm);
    }
    void operator()(dart_context *context) const
    {
        dart_context_free(context);
    }
};

void check(dart_status status)
{
    if (status != DART_OK)
        throw std::runtime_error(std::string(dart_status_text(status)) + ": " + dart_last_error());
}

// Opens what a C function hands out through its last argument.
template <typename handle, typename... arguments, typename... given>
std::unique_ptr<handle, closer> open(dart_status (*make)(arguments...), given... values)
{
    handle *made = nullptr;
    check(make(values..., &made));
    return std::unique_ptr<handle, closer>(made);
}

int write(void *user, const char *text, size_t size)
{
    std::ostream &out = *static_cast<std::ostream *>(user);
    out.write(text, static_cast<std::streamsize>(size)).flush();
    return out ? 0 : 1;
}

volatile std::sig_atomic_t interrupted;

void on_signal(int)
{
    interrupted = 1;
}

dart_status ask(void *)
{
    return interrupted ? DART_INTERRUPTED : DART_OK;
}

} // namespace

int main(int argc, char **argv)
try {
    if (argc < 2) {
        std::cerr << "usage: generate MODEL [PROMPT [TOKENS]]\n";
        return 2;
    }
    std::signal(SIGINT, on_signal);
    auto llm = open<dart_llm>(dart_llm_open, argv[1], nullptr);
    auto context = open<dart_context>(dart_context_new, llm.get(), nullptr);
    dart_sampling sampling = {};
    sampling.size = sizeof sampling;
    sampling.temperature = 0.8;
    sampling.top_k = 40;
    sampling.seed = 1;
    dart_generate_options options = {};
    options.size = sizeof options;
    options.prompt = argc > 2 ? argv[2] : "the";
    options.tokens = argc > 3 ? static_cast<uint32_t>(std::atoi(argv[3])) : 64;
    options.echo = true;
    options.sampling = &sampling;
    options.abort = ask;
    dart_generate_speed speed = {};
    speed.size = sizeof speed;
    check(dart_context_generate(context.get(), &options, write, &std::cout, &speed));
    std::cout << "\n";
    if (speed.tokens > 1 && speed.seconds > 0)
        std::cerr << double(speed.tokens - 1) / speed.seconds << " tokens/s\n";
    return 0;
} catch (const std::exception &error) {
    std::cerr << "generate: " << error.what() << "\n";
    return 1;
}
