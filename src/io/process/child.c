/* Children: started by vfork and exec, watched through a pidfd.
 *
 * Place: io. Between vfork and exec the child runs on this process's memory with all signals
 * blocked; it calls async-signal-safe functions only. What fails there is told through a pipe that
 * exec closes. */
#include "process/process.h"

#include "check/check.h"
#include "net/net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the child needs, prepared before vfork. */
struct child_plan {
    const struct process_spec *spec;
    pid_t parent;
    int null_fd;
    int output_fd; /* -1: inherited */
    int error_fd;
};

enum child_step {
    STEP_SETUP,
    STEP_WORK_DIR,
    STEP_EXEC
};

struct child_failure {
    int step;
    int cause;
};

static _Noreturn void child_fail(const struct child_plan *plan, enum child_step step)
{
    struct child_failure failure = {.step = (int)step, .cause = errno};
    ssize_t rc = write(plan->error_fd, &failure, sizeof(failure));
    (void)rc;
    _exit(127);
}

static void child_reset_signals(void)
{
    const struct sigaction normal = {.sa_handler = SIG_DFL};
    for (int i = 1; i < NSIG; i++) {
        (void)sigaction(i, &normal, NULL); /* fails for KILL and STOP only */
    }
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void child_main(const struct child_plan *plan)
{
    const struct process_spec *spec = plan->spec;
    if (spec->die_with_parent) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != plan->parent) {
            _exit(127); /* it died before the signal was set up */
        }
    }
    if (spec->own_group && setpgid(0, 0) != 0) {
        child_fail(plan, STEP_SETUP);
    }
    if (dup2(plan->null_fd, STDIN_FILENO) < 0) {
        child_fail(plan, STEP_SETUP);
    }
    if (plan->output_fd >= 0 &&
        (dup2(plan->output_fd, STDOUT_FILENO) < 0 || dup2(plan->output_fd, STDERR_FILENO) < 0)) {
        child_fail(plan, STEP_SETUP);
    }
    if (spec->work_dir != NULL && chdir(spec->work_dir) != 0) {
        child_fail(plan, STEP_WORK_DIR);
    }
    (void)close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
    child_reset_signals();

    /* exec takes its arrays as char *const[] for historical reasons and does not change them. */
    union {
        const char *const *given;
        char *const *taken;
    } argv = {.given = spec->argv}, envp = {.given = spec->envp};

    if (spec->envp != NULL) {
        (void)execvpe(argv.taken[0], argv.taken, envp.taken);
    } else {
        (void)execvp(argv.taken[0], argv.taken);
    }
    child_fail(plan, STEP_EXEC);
}

/* Runs the child to its exec. The signal mask is full in between: a handler must not run in the
 * child. */
static pid_t start_child(const struct child_plan *plan)
{
    sigset_t all;
    sigset_t old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    pid_t pid = vfork();
    if (pid == 0) {
        child_main(plan);
    }
    int cause = errno;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = cause;
    return pid;
}

static enum err describe_failure(const struct process_spec *spec, struct child_failure failure,
                                 struct err_note *note)
{
    enum err err = failure.cause == ENOENT || failure.cause == ENOTDIR ? ERR_NOT_FOUND
                   : failure.cause == EACCES || failure.cause == EPERM ? ERR_DENIED
                                                                       : ERR_IO;
    const char *cause = strerrordesc_np(failure.cause);
    if (failure.step == STEP_WORK_DIR) {
        return err_note_set(note, err, "start %s: directory %s: %s", spec->argv[0], spec->work_dir,
                            cause);
    }
    return err_note_set(note, err, "start %s: %s", spec->argv[0], cause);
}

static void on_pidfd(struct loop_watch *watch, enum err err)
{
    struct process *process = CONTAINER_OF(watch, struct process, watch);
    if (err == ERR_OK) {
        siginfo_t info = {0};
        if (process->exited ||
            waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOHANG) != 0 ||
            info.si_pid == 0) {
            return;
        }
        process->exited = true;
        process->status = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
        loop_watch_stop(&process->watch);
        return;
    }
    CHECK(err == ERR_CANCELED); /* a pidfd can always be watched */
    (void)close(process->pidfd);
    process->pidfd = -1;
    if (process->status >= 0) {
        process->on_exit(process, process->status, 0);
    } else {
        process->on_exit(process, -1, -process->status);
    }
}

/* Waits for exec or failure: the pipe ends at exec. */
static enum err await_exec(const struct process_spec *spec, pid_t pid, int error_fd,
                           struct err_note *note)
{
    struct child_failure failure;
    ssize_t got;
    do {
        got = read(error_fd, &failure, sizeof(failure));
    } while (got < 0 && errno == EINTR);
    if (got == 0) {
        return ERR_OK;
    }
    (void)waitpid(pid, NULL, 0);
    if (got != (ssize_t)sizeof(failure)) {
        return err_note_set(note, ERR_IO, "start %s: it died before it ran", spec->argv[0]);
    }
    return describe_failure(spec, failure, note);
}

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
}

static enum err spawn_with(struct process *process, struct child_plan *plan, int *fds,
                           struct err_note *note)
{
    const struct process_spec *spec = plan->spec;
    pid_t pid = start_child(plan);
    if (pid < 0) {
        return err_note_set(note, ERR_FULL, "start %s: %s", spec->argv[0], strerrordesc_np(errno));
    }
    (void)close(plan->error_fd);
    fds[1] = -1;
    enum err err = await_exec(spec, pid, fds[0], note);
    if (err != ERR_OK) {
        return err;
    }
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        int cause = errno;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return err_note_set(note, net_err_from_errno(cause), "start %s: pidfd: %s", spec->argv[0],
                            strerrordesc_np(cause));
    }
    process->pid = pid;
    process->pidfd = pidfd;
    return ERR_OK;
}

enum err process_spawn(struct process *process, struct loop *loop, const struct process_spec *spec,
                       void (*on_exit)(struct process *process, int exit_code, int signal),
                       struct err_note *note)
{
    CHECK(spec->argv != NULL && spec->argv[0] != NULL && on_exit != NULL);
    int fds[4] = {-1, -1, -1, -1}; /* pipe, /dev/null, output */
    memset(process, 0, sizeof(*process));
    process->loop = loop;
    process->on_exit = on_exit;
    enum err err = ERR_OK;
    const char *what = "/dev/null";
    bool ok = pipe2(fds, O_CLOEXEC) == 0;
    ok = ok && (fds[2] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;
    if (ok && spec->output_path != NULL) {
        what = spec->output_path;
        fds[3] = open(spec->output_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        ok = fds[3] >= 0;
    }
    if (!ok) {
        err = errno == ENOENT ? ERR_NOT_FOUND : net_err_from_errno(errno);
        err = err_note_set(note, err, "start %s: %s: %s", spec->argv[0], what,
                           strerrordesc_np(errno));
    } else {
        struct child_plan plan = {.spec = spec,
                                  .parent = getpid(),
                                  .error_fd = fds[1],
                                  .null_fd = fds[2],
                                  .output_fd = fds[3]};
        err = spawn_with(process, &plan, fds, note);
    }
    close_all(fds, 4);
    if (err == ERR_OK) {
        loop_watch_start(loop, &process->watch, process->pidfd, on_pidfd);
    }
    return err;
}

void process_signal(struct process *process, int signal)
{
    if (process->pidfd >= 0 && !process->exited) {
        (void)pidfd_send_signal(process->pidfd, signal, NULL, 0);
    }
}

void process_signal_group(struct process *process, int signal)
{
    /* The group outlives its leader only while it has members; its number is not reused before the
     * leader has been reaped, and that is when exited is set. */
    if (process->pidfd >= 0 && !process->exited) {
        (void)kill(-process->pid, signal);
    }
}
