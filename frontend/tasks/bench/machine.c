/* What every output says: which program, when, on what. */
#include "bench.h"
#include "threads.h"
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static const char commit[] =
#include "commit.inc" /* cmake/commit.cmake */
    ;

/* The processor as the kernel names it; on Arm, which model of which maker it is. */
static void name_processor(char *out, size_t size)
{
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "r");
    *out = 0;
    while (file && !*out && fgets(line, sizeof line, file)) {
        static const char *const keys[] = {"model name", "Model", "Hardware", "cpu model"};
        const char *value = strchr(line, ':');
        for (size_t i = 0; value && i < sizeof keys / sizeof *keys; i++)
            if (!strncmp(line, keys[i], strlen(keys[i])))
                snprintf(out, size, "%.*s", (int)strcspn(value + 1, "\n"), value + 1);
    }
    if (file) fclose(file);
    if (*out == ' ') memmove(out, out + 1, strlen(out));
}

void dart_bench_machine_now(dart_bench_machine *out)
{
    struct utsname system;
    struct tm utc;
    const time_t now = time(NULL);
    *out = (dart_bench_machine){.threads = dart_host_threads()};
    snprintf(out->version, sizeof out->version, "%s", DART_VERSION);
    snprintf(out->commit, sizeof out->commit, "%s", commit);
    if (gmtime_r(&now, &utc)) strftime(out->date, sizeof out->date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    name_processor(out->processor, sizeof out->processor);
    if (uname(&system) == 0) {
        snprintf(out->system, sizeof out->system, "%.40s %.60s", system.sysname, system.release);
        if (!*out->processor)
            snprintf(out->processor, sizeof out->processor, "%.60s", system.machine);
    }
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0) out->memory = (uint64_t)pages * (uint64_t)page;
}

static json_t *place_json(const dart_bench_place *p, dart_status *status)
{
    json_t *one = json_object();
    dart_json_set(one, "device", json_string(p->id), status);
    dart_json_set(one, "name", dart_json_text(p->name), status);
    dart_json_set(one, "driver", dart_json_text(p->driver), status);
    dart_json_set(one, "api", dart_json_text(p->api), status);
    const dart_caps *c = &p->caps;
    dart_json_set(one, "memory_bytes", json_integer((json_int_t)c->memory), status);
    dart_json_set(one, "binding_bytes", json_integer((json_int_t)c->max_binding), status);
    dart_json_set(one, "work_group", json_integer(c->max_invocations), status);
    dart_json_set(one, "shared_bytes", json_integer(c->max_shared), status);
    dart_json_set(one, "subgroup", json_integer(c->subgroup), status);
    dart_json_set(one, "units", json_integer(c->threads), status);
    dart_json_set(one, "unified", json_boolean(c->unified), status);
    dart_json_set(one, "processor", json_boolean(c->on_cpu), status);
    dart_json_set(one, "storage16", json_boolean(c->storage16), status);
    dart_json_set(one, "arith16", json_boolean(c->arith16), status);
    dart_json_set(one, "matrix_f16", json_boolean(c->matrix[0].m > 0), status);
    dart_json_set(one, "matrix_bf16", json_boolean(c->matrix[1].m > 0), status);
    dart_json_set(one, "peak_gflops", dart_json_real(1e-9 * p->peak.flops), status);
    dart_json_set(one, "copy_gb_s", dart_json_real(1e-9 * p->peak.bytes), status);
    dart_json_set(one, "launch_us", dart_json_real(1e6 * p->peak.launch_s), status);
    dart_json_set(one, "submit_us", dart_json_real(1e6 * p->peak.submit_s), status);
    return one;
}

json_t *dart_bench_machine_json(const dart_bench_machine *m, dart_status *status)
{
    json_t *body = json_object(), *places = json_array();
    dart_json_set(body, "version", json_string(m->version), status);
    dart_json_set(body, "commit", dart_json_text(m->commit), status);
    dart_json_set(body, "date", json_string(m->date), status);
    dart_json_set(body, "processor", dart_json_text(m->processor), status);
    dart_json_set(body, "system", dart_json_text(m->system), status);
    dart_json_set(body, "threads", json_integer(m->threads), status);
    dart_json_set(body, "memory_bytes", json_integer((json_int_t)m->memory), status);
    dart_json_set(body, "repeats", json_integer(m->repeats), status);
    for (uint32_t i = 0; i < m->places; i++)
        dart_json_add(places, place_json(&m->place[i], status), status);
    dart_json_set(body, "devices", places, status);
    return body;
}
