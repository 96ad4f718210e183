/* devices: what this machine offers, and why the rest is not usable. */
#include "cli.h"

static const dart_option options[] = {
    {"limits", "", "string", "", "",
        "as a smaller device: emu-floor, emu-pi4, emu-pi5, emu-mali, ..."},
    {"json", "", "bool", "false", "", "print as JSON"},
    {NULL},
};

static json_t *device_json(const dart_device_info *d)
{
    /* names are the drivers' own */
    json_t *out = json_pack("{s:s, s:b}", "id", d->id, "usable", d->usable);
    out = cli_json_text(cli_json_text(out, "reason", d->reason), "name", d->name);
    out = cli_json_text(cli_json_text(out, "driver", d->driver), "api", d->api);
    out = cli_json_text(out, "matrix", d->matrix);
    return cli_json_join(
        out, json_pack("{s:I, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:b, s:b, s:b}", "memory",
                 (json_int_t)d->memory, "max_binding", (json_int_t)d->max_binding, "max_alloc",
                 (json_int_t)d->max_alloc, "max_invocations", (int)d->max_invocations, "max_shared",
                 (int)d->max_shared, "max_buffers", (int)d->max_buffers, "subgroup",
                 (int)d->subgroup, "threads", (int)d->threads, "storage16", d->storage16, "arith16",
                 d->arith16, "on_cpu", d->on_cpu));
}

static void uint_text(char out[64], uint32_t value)
{
    if (value)
        snprintf(out, 64, "%u", value);
    else
        snprintf(out, 64, "-");
}

static dart_status print_text(const dart_device_list *list)
{
    cli_table table = {0};
    dart_status status = DART_OK;
    const size_t count = dart_device_list_count(list);
    static const char *const heading[] = {"id", "usable", "kind", "memory", "binding", "work-group",
        "shared", "buffers", "subgroup", "16-bit", "threads", "API", "name"};
    CLI_GOTO(cli_table_row(&table, 13, heading));
    for (size_t i = 0; i < count; i++) {
        const dart_device_info *d = dart_device_list_at(list, i);
        char memory[64], binding[64], group[64], shared[64], buffers[64], subgroup[64], threads[64];
        cli_bytes(memory, d->memory);
        cli_bytes(binding, d->max_binding);
        cli_bytes(shared, d->max_shared);
        uint_text(group, d->max_invocations);
        uint_text(buffers, d->max_buffers);
        uint_text(subgroup, d->subgroup);
        uint_text(threads, d->threads);
        const char *bits = *d->matrix     ? "matrices"
                           : d->arith16   ? "arithmetic"
                           : d->storage16 ? "storage"
                                          : "-";
        const char *cells[] = {d->id, d->usable ? "yes" : "no",
            !d->usable  ? "-"
            : d->on_cpu ? "processor"
                        : "GPU",
            memory, binding, group, shared, buffers, subgroup, bits, threads,
            *d->api ? d->api : "-", *d->name ? d->name : "-"};
        CLI_GOTO(cli_table_row(&table, 13, cells));
    }
    cli_table_print(&table, stdout);
    for (size_t i = 0; i < count; i++) {
        const dart_device_info *d = dart_device_list_at(list, i);
        if (*d->driver) printf("%s: driver %s\n", d->id, d->driver);
        if (*d->matrix) printf("%s: matrix units multiply %s\n", d->id, d->matrix);
        if (!d->usable) printf("%s: not usable: %s\n", d->id, d->reason);
    }
done:
    cli_table_free(&table);
    return status;
}

static dart_status run(cli_call *cli)
{
    dart_device_list *list;
    CLI_TRY(dart_devices(cli_text(cli, "limits"), &list));
    dart_status status = DART_OK;
    if (cli_flag(cli, "json")) {
        json_t *all = json_array();
        for (size_t i = 0; i < dart_device_list_count(list) && status == DART_OK; i++) {
            const dart_device_info *d = dart_device_list_at(list, i);
            if (json_array_append_new(all, device_json(d)) != 0)
                status = cli_fail(DART_MEMORY, "out of memory while making JSON of %s", d->id);
        }
        if (status == DART_OK)
            status = cli_json(all, stdout);
        else
            json_decref(all);
    } else {
        status = print_text(list);
    }
    dart_device_list_free(list);
    return status;
}

const cli_command cmd_devices = {.name = "devices",
    .summary = "list the devices of all backends, and why some are not usable",
    .own = options,
    .run = run};
