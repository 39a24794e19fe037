/* The node: opens a data directory, starts the threads, stops them in order.
 *
 * Data directory:  identity, lock, WAL segments   (io/disk, io/wal)
 *                  state/                         (io/store)
 *                  snapshots/                     (io/store/snapshot_file)
 *
 * Start: lock -> identity (boot count) -> WAL -> store -> engine -> apply, edges, peers.
 * Stop:  edges -> core -> WAL sealed -> apply -> store's clean mark. */
#include "node/node.h"

#include "check/check.h"
#include "log/log.h"
#include "mem/mem.h"
#include "node/node_priv.h"
#include "process/process.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    PATH_BYTES = 320
};

/* ---- opening --------------------------------------------------------------------------------- */

static void on_durable(void *context, uint64_t wal_seq)
{
    struct node *node = context;
    engine_wal_durable(node->engine, wal_seq);
}

static void on_failed(void *context, enum err err, const struct err_note *note)
{
    struct node *node = context;
    engine_wal_failed(node->engine, err, note);
}

static void on_space(void *context, bool low, const struct err_note *note)
{
    (void)context;
    if (low) {
        log_event(LOG_DISK_FULL, "state=low detail=%s", note->text);
    }
}

/* Leaves a directory with an identity and a WAL, and this start counted. */
static enum err open_identity(struct node *node, const struct wal_config *cfg,
                              struct err_note *note)
{
    struct disk *disk = disk_loop_base(node->disk);
    bool present = false;
    enum err err = wal_present(disk, &present, note);
    if (err != ERR_OK) {
        return err;
    }
    struct identity_want want = {.node_id = node->cfg.id};
    while (want.new_storage_id == 0) {
        process_random(&want.new_storage_id, sizeof(want.new_storage_id));
    }
    err = identity_open(disk, &want, present, &node->identity, note);
    if (err != ERR_OK) {
        return err;
    }
    if (!present) {
        struct wal_config create = *cfg;
        create.storage_id = node->identity.storage_id;
        err = wal_create(disk, &create, note);
    }
    return err == ERR_OK ? identity_start(disk, &node->identity, note) : err;
}

static enum err open_wal(struct node *node, struct err_note *note)
{
    struct disk *disk = disk_loop_base(node->disk);
    struct wal_config cfg = wal_config_default(1);
    cfg.segment_bytes = (uint32_t)node->cfg.wal_segment_bytes;
    enum err err = open_identity(node, &cfg, note);
    if (err != ERR_OK) {
        return err;
    }
    cfg.storage_id = node->identity.storage_id;
    struct wal_callbacks callbacks = {
        .on_durable = on_durable, .on_failed = on_failed, .on_space = on_space, .context = node};
    err = wal_open(disk, &cfg, &callbacks, &node->wal, note);
    if (err != ERR_OK) {
        return err;
    }
    const struct wal_recovery *found = wal_recovery(node->wal);
    for (size_t i = 0; i < found->damage_count && i < 8; i++) {
        struct err_note where = {{0}};
        wal_damage_text(&found->damages[i], &where);
        log_event(LOG_WAL_DAMAGED, "detail=%s", where.text);
    }
    return ERR_OK;
}

/* A file of this log: written here after the mark that the WAL has, or the one of the mark. */
static bool is_of_log(const struct raft_snapshot_meta *meta, const void *context)
{
    const struct raft_boot *boot = context;
    if (meta->index == boot->snapshot.index) {
        return true;
    }
    raft_term term = 0;
    for (size_t i = 0; i < boot->run_count && boot->runs[i].first <= meta->index; i++) {
        term = boot->runs[i].term;
    }
    return meta->index > boot->snapshot.index && meta->index <= boot->last_index &&
           meta->term == term;
}

/* A state that lies before the log begins (a crash leaves none) is filled from a snapshot file.
 * Without one the engine asks for it, and the apply thread says what is missing. */
static void fill_state(struct node *node, raft_index *applied)
{
    struct raft_boot boot;
    struct err_note note = {{0}};
    wal_boot(node->wal, META_GROUP, &boot);
    if (*applied < boot.snapshot.index &&
        node_snapshot_load(node, is_of_log, &boot, applied, &note) != ERR_OK) {
        log_event(LOG_SNAPSHOT_FAILED, "group=%u detail=%s", (unsigned)META_GROUP, note.text);
    }
}

static enum err read_applied(struct node *node, raft_index *ret_applied)
{
    struct store_reader *reader = NULL;
    enum err err = store_reader_new(node->store, &reader);
    if (err == ERR_OK) {
        err = store_read_begin(reader);
    }
    if (err == ERR_OK) {
        struct table_txn txn;
        store_read_tables(reader, META_GROUP, &txn);
        err = table_applied(&txn, ret_applied);
        store_read_end(reader);
    }
    store_reader_free(reader);
    return err;
}

static enum err open_store(struct node *node, raft_index *ret_applied, struct err_note *note)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/state", node->cfg.data_dir);
    struct store_cfg cfg;
    store_cfg_init(&cfg);
    if (node->cfg.store_map_bytes > 0) {
        cfg.map_bytes = node->cfg.store_map_bytes;
    }
    bool trusted = false;
    enum err err = store_open(path, &cfg, &node->store, &trusted, note);
    return err == ERR_OK ? read_applied(node, ret_applied) : err;
}

/* Who else has what this disk has lost. */
static bool has_other_voters(const struct node *node, const struct raft_boot *boot)
{
    const struct raft_config *config = boot->config_count > 0
                                           ? &boot->configs[boot->config_count - 1].config
                                           : &boot->snapshot.config;
    for (uint32_t i = 0; i < config->count; i++) {
        if (config->members[i].role == RAFT_VOTER && config->members[i].node != node->cfg.id) {
            return true;
        }
    }
    return false;
}

/* A damaged log may end before the state. The state is a cache of the log, so it goes; but without
 * other voters it is all that is left of what was lost, and stays for whoever rescues it. */
static enum err drop_state_ahead(struct node *node, raft_index *applied, struct err_note *note)
{
    struct raft_boot boot;
    wal_boot(node->wal, META_GROUP, &boot);
    if (engine_judge_state(&boot, *applied) != ENGINE_STATE_AHEAD) {
        return ERR_OK;
    }
    if (!has_other_voters(node, &boot)) {
        return err_note_set(note, ERR_CORRUPT,
                            "%s: the log is damaged and ends at entry %llu, the state has applied "
                            "%llu, and no other node has what is missing: nothing was changed",
                            node->cfg.data_dir, (unsigned long long)boot.last_index,
                            (unsigned long long)*applied);
    }
    log_event(LOG_STATE_DISCARDED, "group=%u applied=%llu log=%llu", (unsigned)META_GROUP,
              (unsigned long long)*applied, (unsigned long long)boot.last_index);
    /* The begin removes the clean mark, so that the next open finds nothing to trust. */
    enum err err = store_write_begin(node->store, note);
    if (err != ERR_OK) {
        return err;
    }
    store_write_abort(node->store);
    err = store_close(node->store, false, note);
    node->store = NULL;
    return err == ERR_OK ? open_store(node, applied, note) : err;
}

static enum err open_state(struct node *node, raft_index *ret_applied, struct err_note *note)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/snapshots", node->cfg.data_dir);
    enum err err = snapshot_dir_open(path, &node->snapshots, note);
    if (err == ERR_OK) {
        err = open_store(node, ret_applied, note);
    }
    if (err == ERR_OK) {
        err = drop_state_ahead(node, ret_applied, note);
    }
    if (err == ERR_OK) {
        fill_state(node, ret_applied);
    }
    return err;
}

static enum err open_engine(struct node *node, raft_index applied, struct err_note *note)
{
    struct engine_cfg cfg = {
        .self = node->cfg.id,
        .storage_id = node->identity.storage_id,
        .cluster_id = node->identity.cluster_id,
        .boot_count = node->identity.boot_count,
        .voter_count = node->cfg.peer_count,
        .group_count = 1,
        .snapshot_log_bytes = node->cfg.snapshot_log_bytes,
    };
    for (uint32_t i = 0; i < node->cfg.peer_count; i++) {
        cfg.voters[i] = node->cfg.peers[i].id;
    }
    process_random(&cfg.seed, sizeof(cfg.seed));
    struct engine_env env = node_core_env(node);
    return engine_open(&cfg, &env,
                       &(struct engine_start){
                           .wal = node->wal,
                           .applied = &applied,
                           .now = loop_now(node->core.loop),
                           .wall_ms = loop_wall_ms(node->core.loop),
                       },
                       &node->engine, note);
}

static void on_sent(void *self, raft_group_id group, raft_node_id to, enum err err)
{
    CHECK(group == META_GROUP);
    node_snapshot_sent(self, to, err);
}

static void on_received(void *self, raft_group_id group, const struct raft_snapshot_meta *meta)
{
    struct node *node = self;
    if (!node->core.stopping) {
        log_event(LOG_SNAPSHOT_INSTALLED, "group=%u index=%llu", group,
                  (unsigned long long)meta->index);
        engine_snapshot_received(node->engine, loop_now(node->core.loop), group, meta);
    }
}

static raft_index snapshot_floor(void *self, raft_group_id group)
{
    const struct node *node = self;
    return engine_snapshot_floor(node->engine, group);
}

static bool send_bulk(void *self, raft_node_id to, struct bytes body)
{
    struct node *node = self;
    return peers_send(node->peers, to, PEERS_BULK, PEERS_FRAME_SNAPSHOT, body);
}

static enum err open_data(struct node *node, struct err_note *note)
{
    enum err err = disk_loop_open(node->core.loop, node->cfg.data_dir, true, &node->disk, note);
    if (err == ERR_OK) {
        err = open_wal(node, note);
    }
    raft_index applied = 0;
    if (err == ERR_OK) {
        err = open_state(node, &applied, note);
    }
    atomic_store(&node->committed, applied);
    if (err == ERR_OK) {
        err = open_engine(node, applied, note);
    }
    return err;
}

/* ---- starting -------------------------------------------------------------------------------- */

static uint32_t default_edges(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores <= 2) {
        return 1;
    }
    return cores - 1 > NODE_EDGES_MAX ? NODE_EDGES_MAX : (uint32_t)cores - 1;
}

static enum err start_threads(struct node *node, struct err_note *note)
{
    enum err err = jobs_new(node->core.loop, &node->jobs, note);
    if (err != ERR_OK) {
        return err;
    }
    struct transfer_cfg transfer = {.loop = node->core.loop,
                                    .jobs = node->jobs,
                                    .dir = node->snapshots,
                                    .send = send_bulk,
                                    .sent = on_sent,
                                    .floor = snapshot_floor,
                                    .received = on_received,
                                    .self = node};
    node->transfer = transfer_new(&transfer);
    for (uint32_t i = 0; i < node->edge_count && err == ERR_OK; i++) {
        err = node_edge_start(node, i, note);
    }
    if (err == ERR_OK) {
        err = node_apply_start(node, note);
    }
    if (err == ERR_OK) {
        err = node_core_start(node, note);
    }
    if (err == ERR_OK) {
        for (uint32_t i = 0; i < node->edge_count; i++) {
            node_edge_run(&node->edges[i]);
        }
    }
    return err;
}

enum err node_start(const struct node_cfg *cfg, struct node **ret_node, struct err_note *note)
{
    CHECK(cfg->id > 0 && cfg->id <= NODE_ID_MAX && cfg->peer_count <= NODE_PEERS_MAX);
    struct node *node = mem_alloc_aligned(64, sizeof(*node));
    node->cfg = *cfg;
    list_init(&node->backups);
    node->edge_count = cfg->edge_count > 0 ? cfg->edge_count : default_edges();
    if (node->cfg.wal_segment_bytes == 0) {
        node->cfg.wal_segment_bytes = WAL_SEGMENT_BYTES_DEFAULT;
    }
    node->edges = mem_alloc_aligned(64, node->edge_count * sizeof(*node->edges));
    metrics_init(&node->metrics);
    (void)pthread_mutex_init(&node->status_lock, NULL);
    struct loop_config loop_cfg = {.backend = (enum loop_backend)cfg->loop_backend};
    enum err err = loop_new(&loop_cfg, &node->core.loop, note);
    if (err == ERR_OK) {
        err = open_data(node, note);
    }
    if (err == ERR_OK) {
        log_event(LOG_NODE_STARTED, "id=%u name=%s boot=%llu dir=%s backend=%s", cfg->id, cfg->name,
                  (unsigned long long)node->identity.boot_count, cfg->data_dir,
                  loop_backend_name(node->core.loop));
        err = start_threads(node, note);
    }
    if (err != ERR_OK) {
        node_stop(node);
        return err;
    }
    *ret_node = node;
    return ERR_OK;
}

void node_on_fatal(struct node *node, void (*fn)(void *self, enum err why, const char *text),
                   void *self)
{
    (void)pthread_mutex_lock(&node->status_lock);
    bool late = node->fatal != ERR_OK;
    if (!late) {
        node->on_fatal_self = self;
        node->on_fatal = fn;
    }
    (void)pthread_mutex_unlock(&node->status_lock);
    if (late) {
        fn(self, node->fatal, node->fatal_text); /* written once, before the lock was let go */
    }
}

/* ---- stopping -------------------------------------------------------------------------------- */

static void join_edges(struct node *node)
{
    for (uint32_t i = 0; i < node->edge_count; i++) {
        loop_stop(node->edges[i].loop);
    }
    for (uint32_t i = 0; i < node->edge_count; i++) {
        (void)pthread_join(node->edges[i].thread, NULL);
    }
}

static void close_data(struct node *node, bool clean)
{
    struct err_note note = {{0}};
    transfer_free(node->transfer);
    if (node->core.peers_closed && node->peers != NULL) {
        peers_free(node->peers);
    }
    engine_close(node->engine);
    if (node->wal != NULL) {
        clean = clean && wal_status(node->wal, NULL) == ERR_OK && wal_idle(node->wal);
        wal_free(node->wal);
    }
    if (store_close(node->store, clean, &note) != ERR_OK) {
        log_event(LOG_NODE_STOPPING, "state=unclean detail=%s", note.text);
    }
    snapshot_dir_close(node->snapshots);
    disk_loop_close(node->disk);
}

void node_stop(struct node *node)
{
    if (node == NULL) {
        return;
    }
    log_event(LOG_NODE_STOPPING, "id=%u", node->cfg.id);
    bool ran = node->core.running;
    atomic_store(&node->canceling, true);
    if (ran) {
        join_edges(node);
        loop_stop(node->core.loop);
        (void)pthread_join(node->core.thread, NULL);
    }
    if (node->transfer != NULL) {
        transfer_stop(node->transfer);
    }
    jobs_free(node->jobs);
    node_apply_stop(node);
    bool clean = ran && !node->apply.dead;
    if (node->core.from_apply.loop != NULL) {
        node_core_stop(node);
    }
    for (uint32_t i = 0; i < node->edge_count; i++) {
        node_edge_stop(&node->edges[i]);
    }
    node_backups_free(node);
    close_data(node, clean);
    loop_free(node->core.loop);
    (void)pthread_mutex_destroy(&node->status_lock);
    mem_free(node->edges);
    mem_free(node);
}

const struct node_cfg *node_config(const struct node *node)
{
    return &node->cfg;
}

struct metrics_set *node_metrics(struct node *node)
{
    return &node->metrics;
}

void node_health_set(struct node *node, struct health *health)
{
    atomic_store(&node->health, health);
}

struct health *node_health(const struct node *node)
{
    return atomic_load(&node->health);
}
