/* Lines of the commands that look into a node's files; see cli/cli_dump.h. */
#include "cli/cli_dump.h"

#include "raft/raft.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    LINE_MAX_BYTES = 64 * 1024 * 1024, /* the largest payload as base64 is 12 MiB */
    ROW = 16
};

void cli_dump_init(struct cli_dump *dump, const struct cli_call *call, bool json)
{
    *dump = (struct cli_dump){.call = call, .json = json};
    buf_init(&dump->line, LINE_MAX_BYTES);
}

int cli_dump_done(struct cli_dump *dump, int code)
{
    buf_done(&dump->line);
    dump->failed = fflush(stdout) != 0 || dump->failed;
    return dump->failed ? cli_dump_fail(dump, "standard output cannot be written") : code;
}

int cli_dump_fail(const struct cli_dump *dump, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fflush(stdout);
    (void)fprintf(stderr, "%s: ", dump->call->title);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    return CLIENT_FAILED;
}

void cli_dump_text(struct cli_dump *dump, const char *format, ...)
{
    if (dump->json) {
        return;
    }
    va_list args;
    va_start(args, format);
    dump->failed = vprintf(format, args) < 0 || dump->failed;
    va_end(args);
}

void cli_dump_object(struct cli_dump *dump, const char *type)
{
    buf_clear(&dump->line);
    json_out_init(&dump->out, &dump->line, false);
    json_out_object(&dump->out);
    json_out_field_str(&dump->out, "type", type);
}

void cli_dump_object_end(struct cli_dump *dump)
{
    json_out_object_end(&dump->out);
    struct bytes line = buf_bytes(&dump->line);
    bool whole = dump->out.err == ERR_OK && fwrite(line.data, 1, line.len, stdout) == line.len &&
                 fputc('\n', stdout) != EOF;
    dump->failed = !whole || dump->failed;
}

static bool is_shown(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x7f;
}

void cli_dump_bytes(struct cli_dump *dump, struct bytes raw)
{
    for (size_t at = 0; at < raw.len; at += ROW) {
        size_t count = raw.len - at < ROW ? raw.len - at : ROW;
        char hex[3 * ROW + 1] = "";
        char text[ROW + 1] = "";
        for (size_t i = 0; i < count; i++) {
            uint8_t byte = raw.data[at + i];
            (void)snprintf(hex + 3 * i, sizeof(hex) - 3 * i, "%02x ", byte);
            text[i] = is_shown(byte) ? (char)byte : '.';
        }
        cli_dump_text(dump, "    %08zx  %-*s |%s|\n", at, 3 * ROW, hex, text);
    }
}

const char *cli_dump_shown(struct bytes raw, char dest[CLI_SHOWN_MAX])
{
    static const char more[] = "...";
    size_t len = 0;
    for (size_t i = 0; i < raw.len; i++) {
        uint8_t byte = raw.data[i];
        bool plain = is_shown(byte) && byte != '\\';
        if (len + 4 + sizeof(more) > CLI_SHOWN_MAX) {
            memcpy(dest + len, more, sizeof(more));
            return dest;
        }
        if (plain) {
            dest[len++] = (char)byte;
        } else {
            (void)snprintf(dest + len, CLI_SHOWN_MAX - len, "\\x%02x", byte);
            len += 4;
        }
    }
    dest[len] = '\0';
    return dest;
}

const char *cli_dump_members(const struct raft_config *config, char dest[CLI_SHOWN_MAX])
{
    size_t len = 0;
    dest[0] = '\0';
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        int put = snprintf(dest + len, CLI_SHOWN_MAX - len, "%s%s%u", i == 0 ? "" : ", ",
                           member->role == RAFT_LEARNER ? "learner " : "", member->node);
        if (put < 0 || (size_t)put >= CLI_SHOWN_MAX - len) {
            break;
        }
        len += (size_t)put;
    }
    return dest;
}

void cli_dump_members_json(struct cli_dump *dump, const struct raft_config *config)
{
    json_out_key(&dump->out, "members");
    json_out_array(&dump->out);
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        json_out_object(&dump->out);
        json_out_field_u64(&dump->out, "node", member->node);
        json_out_field_str(&dump->out, "role", member->role == RAFT_LEARNER ? "learner" : "voter");
        cli_dump_hex(dump, "storage_id", member->storage_id);
        json_out_object_end(&dump->out);
    }
    json_out_array_end(&dump->out);
}

void cli_dump_hex(struct cli_dump *dump, const char *key, uint64_t value)
{
    char text[17];
    (void)snprintf(text, sizeof(text), "%016llx", (unsigned long long)value);
    json_out_field_str(&dump->out, key, text);
}
