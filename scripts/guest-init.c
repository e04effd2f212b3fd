// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's process 1, compiled by scripts/vm. It puts a tmpfs over the read-only host root and moves into it, mounts
 * what a program expects, runs the command that scripts/vm left in /run/vm, stores its status, and ends the guest.
 *
 *   lower: the host's root, 9p, read-only ----+
 *   upper: a tmpfs ---------------------------+--> overlay = / of the command
 *
 * A program and no script: under emulation with every check on, each program that a script calls takes a second.
 * /run/vm/env has a line NAME=VALUE each for REPO, BUILD, RESULTS, TERM and VM_SHELL.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHARE "trans=virtio,version=9p2000.L,msize=512000,"
#define EXIT_PORT 0xf4	/* QEMU's isa-debug-exit; scripts/vm puts it there */

static const char * const names[] = { "REPO", "BUILD", "RESULTS", "TERM", "VM_SHELL" };

/* QEMU ends at once: to take devices down one by one is some seconds of every guest. */
static void __attribute__((noreturn)) end(void)
{
	sync();
	if (!ioperm(EXIT_PORT, 1, 1))
		outb(0, EXIT_PORT);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void __attribute__((noreturn)) give_up(const char *what)
{
	warn("guest-init: %s", what);
	end();
}

static void must(int status, const char *what)
{
	if (status)
		give_up(what);
}

/* What the kernel does not have is the command's affair. */
static void mount_at(const char *type, const char *path, const char *data)
{
	mkdir(path, 0755);
	mount(type, path, type, 0, data);
}

static void make_path(const char *path)
{
	char part[4096];

	for (size_t i = 1; path[i] && i < sizeof(part) - 1; i++) {
		if (path[i] != '/')
			continue;
		snprintf(part, i + 1, "%s", path);
		mkdir(part, 0755);
	}
	mkdir(path, 0755);
}

static void share(const char *tag, const char *path, unsigned long flags, const char *cache)
{
	char data[128];

	make_path(path);
	snprintf(data, sizeof(data), SHARE "%s", cache);
	must(mount(tag, path, "9p", flags, data), tag);
}

static void move_into_overlay(void)
{
	static const char * const folders[] = { "mnt", "proc", "sys", "dev", "run", "tmp" };

	must(mount("run", "/run", "tmpfs", 0, "mode=755,size=100%"), "tmpfs on /run");
	mkdir("/run/upper", 0755);
	mkdir("/run/work", 0755);
	mkdir("/run/root", 0755);
	must(mount("root", "/run/root", "overlay", 0, "lowerdir=/,upperdir=/run/upper,workdir=/run/work"), "overlay");
	must(chdir("/run/root"), "/run/root");
	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++)
		mkdir(folders[i], 0755);
	must(syscall(SYS_pivot_root, ".", "mnt"), "pivot_root");
	must(chroot("."), "chroot");
	must(chdir("/"), "/");
}

static void use_terminal(const char *path)
{
	int fd = open(path, O_RDWR);

	for (int i = 0; fd >= 0 && i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

static void mount_usual(void)
{
	static const char * const links[] = { "stdin", "stdout", "stderr" };
	char from[16], to[16];

	mount_at("proc", "/proc", NULL);
	mount_at("sysfs", "/sys", NULL);
	mount_at("devtmpfs", "/dev", NULL);
	use_terminal("/dev/console");
	mount_at("tmpfs", "/tmp", "mode=1777,size=100%");
	mount_at("tmpfs", "/run", "mode=755");
	mount_at("devpts", "/dev/pts", "ptmxmode=666");
	mount_at("tmpfs", "/dev/shm", "mode=1777,size=100%");
	mount_at("mqueue", "/dev/mqueue", NULL);
	mount_at("debugfs", "/sys/kernel/debug", NULL);
	mount_at("tracefs", "/sys/kernel/tracing", NULL);
	mount_at("cgroup2", "/sys/fs/cgroup", NULL);
	unlink("/dev/fd");
	must(symlink("/proc/self/fd", "/dev/fd"), "/dev/fd");
	for (int i = 0; i < 3; i++) {
		snprintf(from, sizeof(from), "/proc/self/fd/%d", i);
		snprintf(to, sizeof(to), "/dev/%s", links[i]);
		unlink(to);
		must(symlink(from, to), to);
	}
}

static void read_environment(void)
{
	FILE *f = fopen("/run/vm/env", "r");
	char line[4096], *value;

	if (!f)
		give_up("/run/vm/env");
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		value = strchr(line, '=');
		if (!value)
			continue;
		*value++ = 0;
		must(setenv(line, value, 1), line);
	}
	fclose(f);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!getenv(names[i]))
			give_up(names[i]);
}

static void mount_shares(void)
{
	share("vmrun", "/run/vm", 0, "cache=none");
	read_environment();
	share("vmrepo", getenv("REPO"), MS_RDONLY, "cache=loose");
	share("vmbuild", getenv("BUILD"), MS_RDONLY, "cache=loose");
	share("vmresults", getenv("RESULTS"), 0, "cache=mmap");
	umount2("/mnt", MNT_DETACH);
}

static void raise_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		return;
	ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
}

/* The virtio port by which the command's words get to the host: its name is "out". */
static int open_out(void)
{
	DIR *ports = opendir("/sys/class/virtio-ports");
	char path[300], name[16];
	struct dirent *port;
	ssize_t length;
	int fd, out = -1;

	while (ports && out < 0 && (port = readdir(ports))) {
		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", port->d_name);
		fd = open(path, O_RDONLY);
		length = fd < 0 ? 0 : read(fd, name, sizeof(name));
		if (fd >= 0)
			close(fd);
		if (length != 4 || memcmp(name, "out\n", 4))
			continue;
		snprintf(path, sizeof(path), "/dev/%s", port->d_name);
		out = open(path, O_WRONLY);
	}
	if (ports)
		closedir(ports);
	return out < 0 ? open("/dev/console", O_WRONLY) : out;
}

/* In a session of its own: with the terminal that somebody sits at, or with the port to the host. */
static void __attribute__((noreturn)) command(int shell)
{
	int in, out;

	setsid();
	unsetenv("VM_SHELL");
	if (shell) {
		use_terminal("/dev/hvc0");
		ioctl(0, TIOCSCTTY, 1);
	} else {
		in = open("/dev/null", O_RDONLY);
		out = open_out();
		dup2(in, 0);
		dup2(out, 1);
		dup2(out, 2);
		if (in > 2)
			close(in);
		if (out > 2)
			close(out);
	}
	execlp("bash", "bash", "/run/vm/command", NULL);
	err(127, "bash");
}

/* Whoever loses its parent is ours too. */
static int wait_for(pid_t pid)
{
	int status;
	pid_t gone;

	do {
		gone = wait(&status);
	} while (gone != pid && (gone > 0 || errno == EINTR));
	if (gone != pid)
		give_up("wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void store(int status)
{
	FILE *f = fopen("/run/vm/status", "w");

	if (!f || fprintf(f, "%d\n", status) < 0 || fclose(f))
		give_up("/run/vm/status");
}

int main(void)
{
	pid_t pid;
	int shell;

	umask(022);
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("LANG", "C.UTF-8", 1);
	move_into_overlay();
	mount_usual();
	mount_shares();
	sethostname("guest", 5);
	raise_loopback();
	shell = !strcmp(getenv("VM_SHELL"), "1");
	pid = fork();
	if (pid < 0)
		give_up("fork");
	if (!pid)
		command(shell);
	store(wait_for(pid) * !shell);
	end();
}
