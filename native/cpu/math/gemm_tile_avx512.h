// Tile geometry shared by the AVX-512 files.
#pragma once

namespace wm {
namespace {

constexpr int kPanelRows = 8;
constexpr int kPanelCols = 48;
// How far ahead of its use B is fetched into the first cache level.
constexpr int kPrefetchBytes = 8 * kPanelCols * 4;

}  // namespace
}  // namespace wm
