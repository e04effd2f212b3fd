// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_COLLAPSE of a file that nobody has open for writing, of a file system that knows of no huge pages: ext4.
 */
#define _GNU_SOURCE
#include <sys/mount.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "file.h"

static char ext4_dir[64];
static char ext4_image[64];

static bool file_huge(const char *p)
{
	return smaps_kb(p, "FilePmdMapped") == 2048;
}

/* What is being read ahead is locked; it is not for long. */
static int collapse_read(char *p)
{
	int err, i;

	for (i = 0; i < 50; i++) {
		err = collapse(p);
		if (err != -EAGAIN)
			break;
		usleep(20000);
	}
	return err;
}

FIXTURE(ext4) {
	char name[96];
	char *p;
	int fd;
};

/* Not truncated: what takes a file's place this way is written back at once. */
static void ext4_write(const char *name)
{
	static char buf[HUGE];
	int fd = open(name, O_RDWR | O_CREAT, 0600);

	thp_fill(buf, PAGES);
	if (fd < 0 || write(fd, buf, HUGE) != (ssize_t)HUGE)
		fail_setup("%s", name);
	close(fd);
}

FIXTURE_SETUP(ext4)
{
	int fd;

	snprintf(self->name, sizeof(self->name), "%s/file", ext4_dir);
	ext4_write(self->name);
	fd = open(self->name, O_RDONLY);
	if (fd < 0 || fsync(fd))
		fail_setup("%s", self->name);
	self->fd = fd;
	self->p = thp_room(PAGES, MAP_PRIVATE, fd);
	mprotect(self->p, HUGE, PROT_READ);
}

FIXTURE_TEARDOWN(ext4)
{
	munmap(self->p, HUGE);
	close(self->fd);
	unlink(self->name);
}

TEST_F(ext4, clean)
{
	long huge = count_now("nr_file_hugepages");

	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	ASSERT_EQ(collapse_read(self->p), 0);
	EXPECT_TRUE(file_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	EXPECT_EQ(count_now("nr_file_hugepages"), huge + 1);
	EXPECT_EQ(collapse_read(self->p), 0);
}

/* Of what is not in memory, everything is read. */
TEST_F(ext4, not_in_memory)
{
	/* Drops the file, which is clean and not mapped yet. */
	ASSERT_TRUE(write_text("/proc/sys/vm/drop_caches", "1"));
	ASSERT_EQ(collapse_read(self->p), 0);
	EXPECT_TRUE(file_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

TEST_F(ext4, counted)
{
	long file;

	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	settle_lru();
	file = count_now("nr_file_pages");
	ASSERT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), 0);
	EXPECT_LE(labs(count_now("nr_file_pages") - file), SLACK);
}

/* Not yet written back: it is, before it becomes huge. */
TEST_F(ext4, dirty)
{
	munmap(self->p, HUGE);
	ext4_write(self->name);
	self->p = thp_room(PAGES, MAP_PRIVATE, self->fd);
	EXPECT_EQ(collapse_read(self->p), 0);
	EXPECT_TRUE(file_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/*
 * So is what is dirty elsewhere in the file: who opens it for writing throws the page cache away, as the file
 * system does not know how to write huge pages.
 */
TEST_F(ext4, dirty_elsewhere)
{
	uint64_t word = 4711, got = 0;
	int fd = open(self->name, O_RDWR);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, 2 * HUGE), 0);
	ASSERT_EQ(fsync(fd), 0);
	ASSERT_EQ(pwrite(fd, &word, sizeof(word), HUGE + 5 * PAGE), sizeof(word));
	close(fd);
	EXPECT_EQ(collapse_read(self->p), 0);
	EXPECT_TRUE(file_huge(self->p));
	fd = open(self->name, O_RDWR);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(pread(fd, &got, sizeof(got), HUGE + 5 * PAGE), sizeof(got));
	EXPECT_EQ(got, word);
	close(fd);
}

TEST_F(ext4, open_for_writing)
{
	int fd = open(self->name, O_RDWR);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	EXPECT_EQ(collapse_read(self->p), -EINVAL);
	EXPECT_FALSE(file_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	close(fd);
	EXPECT_EQ(collapse_read(self->p), 0);
	EXPECT_TRUE(file_huge(self->p));
}

/* The file system does not know how to write huge pages: there is none any more. */
TEST_F(ext4, opened_for_writing_later)
{
	static const uint64_t word = 4711;
	long huge = count_now("nr_file_hugepages");
	int fd;

	ASSERT_EQ(collapse_read(self->p), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	ASSERT_TRUE(file_huge(self->p));
	fd = open(self->name, O_RDWR);
	ASSERT_GE(fd, 0);
	EXPECT_FALSE(file_huge(self->p));
	EXPECT_EQ(count_now("nr_file_hugepages"), huge);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	ASSERT_EQ(pwrite(fd, &word, 8, 33 * PAGE), 8);
	EXPECT_EQ(*(volatile uint64_t *)(self->p + 33 * PAGE), word);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 1);
	ASSERT_EQ(fsync(fd), 0);
	close(fd);
	/* And again. */
	EXPECT_EQ(collapse_read(self->p), 0);
	EXPECT_TRUE(file_huge(self->p));
	EXPECT_EQ(*(volatile uint64_t *)(self->p + 33 * PAGE), word);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 1);
}

TEST_F(ext4, private_page)
{
	ASSERT_EQ(mprotect(self->p, HUGE, RW), 0);
	self->p[5 * PAGE] = 55;
	EXPECT_EQ(collapse_read(self->p), -EINVAL);
	EXPECT_EQ(self->p[5 * PAGE], 55);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 1);
}

TEST_F(ext4, second_process)
{
	int up[2], down[2], status = -1;
	char c = 0;
	pid_t pid;

	ASSERT_EQ(pipe(up) | pipe(down), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	pid = fork();
	if (!pid) {
		c = !!thp_wrong(self->p, PAGES);
		if (write(up[1], &c, 1) != 1 || read(down[0], &c, 1) != 1)
			_exit(1);
		_exit(thp_wrong(self->p, PAGES) ? 2 : file_huge(self->p) ? 0 : 3);
	}
	ASSERT_EQ(read(up[0], &c, 1), 1);
	ASSERT_EQ(c, 0);
	EXPECT_EQ(collapse_read(self->p), 0);
	ASSERT_EQ(write(down[1], &c, 1), 1);
	waitpid(pid, &status, 0);
	EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(ext4, pinned)
{
	struct iovec iov = { .iov_base = self->p + 300 * PAGE, .iov_len = 8 };
	int fds[2];

	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 8);
	EXPECT_EQ(collapse(self->p), -EAGAIN);
	EXPECT_FALSE(file_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(collapse_read(self->p), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* Cut while it is mapped, there is nothing to collapse. */
TEST_F(ext4, truncated)
{
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	ASSERT_EQ(truncate(self->name, 0), 0);
	EXPECT_EQ(collapse_read(self->p), -EINVAL);
	EXPECT_FALSE(file_huge(self->p));
}

TEST_F(ext4, cut_afterwards)
{
	long huge = count_now("nr_file_hugepages");

	ASSERT_EQ(collapse_read(self->p), 0);
	ASSERT_EQ(truncate(self->name, 100 * PAGE), 0);
	EXPECT_EQ(count_now("nr_file_hugepages"), huge);
	EXPECT_EQ(thp_wrong(self->p, 100), 0);
}

/* --- the file system -------------------------------------------------------------------- */

static void ext4_mount(void)
{
	char command[512];

	snprintf(ext4_dir, sizeof(ext4_dir), "/tmp/collapse-ext4-XXXXXX");
	if (!mkdtemp(ext4_dir))
		fail_setup("%s", ext4_dir);
	snprintf(ext4_image, sizeof(ext4_image), "%s.img", ext4_dir);
	snprintf(command, sizeof(command), "truncate -s 64M %s && mkfs.ext4 -q -F %s && mount -o loop %s %s",
		 ext4_image, ext4_image, ext4_image, ext4_dir);
	if (system(command))
		fail_setup("an ext4 file system on a loop device");
}

int main(int argc, char **argv)
{
	int status;

	ext4_mount();
	status = test_harness_run(argc, argv);
	umount(ext4_dir);
	rmdir(ext4_dir);
	unlink(ext4_image);
	return status;
}
