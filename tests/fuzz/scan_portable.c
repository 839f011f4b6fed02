/* The scanner once more, under other names and without SSE2: the fuzzer compares the two. */
#define SCAN_PORTABLE     1
#define scan_head_begin   portable_head_begin
#define scan_head_run     portable_head_run
#define scan_head_line    portable_head_line
#define scan_block_apply  portable_block_apply
#define scan_chunks_begin portable_chunks_begin
#define scan_chunks_run   portable_chunks_run
#include "scan.c"
#include "scan_chunks.c"
