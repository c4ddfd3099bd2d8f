{
  # CMakeLists.txt is the build description; this target runs it, so that node-gyp and cmake-js give one binary.
  # The action's output never exists: make would otherwise say "nothing to be done" and edits would not be rebuilt.
  "targets": [
    {
      "target_name": "wordmask",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(INTERMEDIATE_DIR)/never-created"],
          "action": ["node", "<(module_root_dir)/scripts/build-native.mjs"]
        }
      ]
    }
  ]
}
