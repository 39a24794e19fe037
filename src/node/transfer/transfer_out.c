/* The sender of a snapshot file. See transfer_priv.h for its states and the rule of jobs.
 *
 * Place: node/transfer. */
#include "transfer/transfer_priv.h"

#include "check/check.h"
#include "mem/mem.h"

#include <stdio.h>

static const uint64_t WINDOW_BYTES = (uint64_t)TRANSFER_WINDOW * TRANSFER_CHUNK_MAX;

static clk_ns now_of(const struct transfer_out *out)
{
    return loop_now(out->transfer->cfg.loop);
}

static bool is_active(const struct transfer_out *out)
{
    return out->state != OUT_WAITING && out->state != OUT_ENDED;
}

/* ---- on the background thread ---------------------------------------------------------------- */

/* The newest file that is new enough and whole. */
static enum err open_newest(struct transfer_out *out)
{
    struct snapshot_info *infos = mem_alloc_array(SNAPSHOT_KEEP, sizeof(*infos));
    size_t count = 0;
    enum err err = snapshot_list(out->dir, out->group, NULL, SNAPSHOT_KEEP, infos, &count);
    enum err found = ERR_NOT_FOUND;
    for (size_t i = 0; err == ERR_OK && found != ERR_OK && i < count; i++) {
        if (infos[i].meta.index < out->at_least) {
            break;
        }
        struct err_note note = {0};
        found = snapshot_verify(out->dir, infos[i].name, &out->info, &note);
        if (found == ERR_OK) {
            found = snapshot_source_open(out->dir, infos[i].name, &out->source);
        }
        if (found != ERR_OK) {
            /* A file that cannot be used is as good as none: a new one will be written. */
            found = ERR_NOT_FOUND;
        }
    }
    mem_free(infos);
    return err != ERR_OK ? err : found;
}

static enum err read_chunk(struct transfer_out *out)
{
    size_t len = 0;
    enum err err = snapshot_source_read(out->source, out->read_offset,
                                        out->frame + TRANSFER_CHUNK_HEAD, out->read_len, &len);
    return err == ERR_OK && len != out->read_len ? ERR_CORRUPT : err;
}

static void work(struct job *job)
{
    struct transfer_out *out = CONTAINER_OF(job, struct transfer_out, job);
    switch (out->work) {
    case OUT_OPEN:
        out->job_err = open_newest(out);
        return;
    case OUT_READ:
        out->job_err = read_chunk(out);
        return;
    case OUT_CLOSE:
        snapshot_source_close(out->source);
        out->source = NULL;
        return;
    }
}

/* ---- on the core thread ---------------------------------------------------------------------- */

void transfer_out_free(struct transfer_out *out)
{
    CHECK(!out->job_busy);
    list_remove(&out->link);
    out->transfer->out_count--;
    snapshot_source_close(out->source);
    mem_free(out->frame);
    mem_free(out);
}

void transfer_out_end(struct transfer_out *out, enum err result, const char *why)
{
    if (out->state == OUT_ENDED) {
        return;
    }
    out->state = OUT_ENDED;
    out->result = result;
    out->frame_len = 0;
    (void)snprintf(out->why, sizeof(out->why), "%s", why);
    bool calm = result != ERR_OK && result != ERR_NOT_FOUND && result != ERR_CLOSED;
    if (!calm) {
        out->started_at = 0; /* told at once */
    }
    transfer_out_advance(out);
}

static void offer(struct transfer_out *out)
{
    const struct transfer_msg msg = {
        .kind = TRANSFER_OFFER,
        .group = out->group,
        .number = out->number,
        .index = out->info.meta.index,
        .term = out->info.meta.term,
        .size = out->info.size_bytes,
    };
    out->frame_len = transfer_encode(&msg, out->frame);
    out->state = OUT_OFFERED;
}

static void chunk_is_read(struct transfer_out *out)
{
    const struct transfer_msg msg = {
        .kind = TRANSFER_CHUNK,
        .group = out->group,
        .number = out->number,
        .offset = out->read_offset,
    };
    out->frame_len = transfer_encode(&msg, out->frame) + out->read_len;
    out->next = out->read_offset + out->read_len;
}

static void done(struct job *job)
{
    struct transfer_out *out = CONTAINER_OF(job, struct transfer_out, job);
    out->job_busy = false;
    out->heard_at = now_of(out); /* our disk's time is not the peer's silence */
    if (out->state == OUT_ENDED) {
        transfer_out_advance(out);
        return;
    }
    if (out->job_err == ERR_NOT_FOUND) {
        transfer_out_end(out, ERR_NOT_FOUND, "");
        return;
    }
    if (out->job_err != ERR_OK) {
        char why[ERR_NOTE_MAX];
        (void)snprintf(why, sizeof(why), "cannot read the file: %s", err_text(out->job_err));
        transfer_out_end(out, out->job_err, why);
        return;
    }
    if (out->work == OUT_OPEN) {
        offer(out);
    } else {
        chunk_is_read(out);
    }
    transfer_out_advance(out);
}

/* False: no room for a job, the tick tries again. */
static void run(struct transfer_out *out, enum transfer_out_work what)
{
    struct transfer *transfer = out->transfer;
    if (transfer->stopping) {
        return;
    }
    out->work = what;
    out->job.work = work;
    out->job.done = done;
    out->job_busy = jobs_run(transfer->cfg.jobs, &out->job) == ERR_OK;
}

static void finish(struct transfer_out *out)
{
    if (!out->reported) {
        /* Everything that ends is told from the loop, not from whatever call ended it. */
        transfer_keep_ticking(out->transfer);
        return;
    }
    if (out->source != NULL) {
        run(out, OUT_CLOSE);
        return;
    }
    transfer_out_free(out);
}

void transfer_out_advance(struct transfer_out *out)
{
    if (out->job_busy || out->state == OUT_WAITING) {
        return;
    }
    if (out->state == OUT_ENDED) {
        finish(out);
        return;
    }
    if (out->state == OUT_OPENING) {
        run(out, OUT_OPEN);
        return;
    }
    struct transfer_cfg *cfg = &out->transfer->cfg;
    if (out->frame_len > 0) {
        if (!cfg->send(cfg->self, out->to, bytes_of(out->frame, out->frame_len))) {
            return; /* the tick tries again */
        }
        out->frame_len = 0;
    }
    uint64_t left = out->info.size_bytes - out->next;
    bool room = out->next - out->acked + TRANSFER_CHUNK_MAX <= WINDOW_BYTES;
    if (out->state == OUT_STREAMING && left > 0 && room) {
        out->read_offset = out->next;
        out->read_len = left < TRANSFER_CHUNK_MAX ? (size_t)left : TRANSFER_CHUNK_MAX;
        run(out, OUT_READ);
    }
}

void transfer_out_start_next(struct transfer *transfer, raft_node_id to)
{
    struct transfer_out *first = NULL;
    LIST_FOREACH (link, &transfer->outs) {
        struct transfer_out *out = CONTAINER_OF(link, struct transfer_out, link);
        if (out->to != to) {
            continue;
        }
        if (is_active(out)) {
            return;
        }
        if (first == NULL && out->state == OUT_WAITING) {
            first = out;
        }
    }
    if (first == NULL || transfer->stopping) {
        return;
    }
    first->state = OUT_OPENING;
    first->number = ++transfer->last_number;
    first->dir = transfer->cfg.dir;
    first->started_at = now_of(first);
    first->heard_at = first->started_at;
    first->frame = mem_alloc(TRANSFER_CHUNK_HEAD + TRANSFER_CHUNK_MAX);
    transfer_out_advance(first);
}

/* ---- what the receiver says ------------------------------------------------------------------ */

static struct transfer_out *find_active(struct transfer *transfer, raft_node_id to,
                                        const struct transfer_msg *msg)
{
    LIST_FOREACH (link, &transfer->outs) {
        struct transfer_out *out = CONTAINER_OF(link, struct transfer_out, link);
        bool same = out->to == to && out->number == msg->number && out->group == msg->group;
        if (same && (out->state == OUT_OFFERED || out->state == OUT_STREAMING)) {
            return out;
        }
    }
    return NULL;
}

static void end_with_text(struct transfer_out *out, enum err result, struct bytes text)
{
    char why[ERR_NOTE_MAX];
    size_t len = text.len < sizeof(why) - 1 ? text.len : sizeof(why) - 1;
    for (size_t i = 0; i < len; i++) {
        why[i] = text.data[i] >= ' ' && text.data[i] < 0x7f ? (char)text.data[i] : '?';
    }
    why[len] = '\0';
    transfer_out_end(out, result, why);
}

static void on_position(struct transfer_out *out, const struct transfer_msg *msg)
{
    if (msg->kind == TRANSFER_ACCEPT && out->state == OUT_OFFERED &&
        msg->offset <= out->info.size_bytes) {
        out->state = OUT_STREAMING;
        out->next = msg->offset;
        out->acked = msg->offset;
    } else if (msg->kind == TRANSFER_ACK && out->state == OUT_STREAMING &&
               msg->offset >= out->acked && msg->offset <= out->next) {
        out->acked = msg->offset;
    } else {
        transfer_out_end(out, ERR_BAD_INPUT, "the receiver's positions make no sense");
        return;
    }
    transfer_out_advance(out);
}

void transfer_out_frame(struct transfer *transfer, raft_node_id from,
                        const struct transfer_msg *msg)
{
    struct transfer_out *out = find_active(transfer, from, msg);
    if (out == NULL) {
        return; /* of a transfer that has ended here */
    }
    out->heard_at = now_of(out);
    if (msg->kind == TRANSFER_REFUSE) {
        end_with_text(out, ERR_REFUSED, msg->bytes);
    } else if (msg->kind == TRANSFER_DONE && msg->ok) {
        transfer_out_end(out, ERR_OK, "");
    } else if (msg->kind == TRANSFER_DONE) {
        end_with_text(out, ERR_REFUSED, msg->bytes);
    } else if (msg->kind != TRANSFER_WAIT) {
        on_position(out, msg);
    }
}

void transfer_out_tick(struct transfer_out *out, clk_ns now)
{
    bool talking = out->state == OUT_OFFERED || out->state == OUT_STREAMING;
    if (talking && !out->job_busy && now - out->heard_at > CLK_MS(TRANSFER_SENDER_MS)) {
        transfer_out_end(out, ERR_TIMEOUT, "the receiver did not answer for 5 s");
        return;
    }
    transfer_out_advance(out);
}
