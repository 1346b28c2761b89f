# Lets the ordinary CMakeLists.txt of an interface package build against the ROS 2 wheels of a Python environment.
# pyproject.toml has CMake read this file right after project(); colcon never sees it.

if(NOT Python3_EXECUTABLE)
  message(FATAL_ERROR "Python3_EXECUTABLE is not set: build with 'pip install --no-build-isolation' of this folder")
endif()
execute_process(
  COMMAND "${Python3_EXECUTABLE}" -c
    "import sys, sysconfig, numpy; print(sys.prefix, sysconfig.get_path('include'), numpy.get_include(), sep=';', end='')"
  OUTPUT_VARIABLE python_folders
  COMMAND_ERROR_IS_FATAL ANY
)
list(POP_FRONT python_folders prefix)
list(PREPEND CMAKE_PREFIX_PATH "${prefix}")
set(ENV{AMENT_PREFIX_PATH} "${prefix}:$ENV{AMENT_PREFIX_PATH}")

# The wheels' *__rosidl_generator_py targets name the Python and NumPy headers of the machine that built the wheels.
# At the end of the CMakeLists.txt, when every dependency has been found, they are given this interpreter's.
function(use_headers_of_this_python)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  list(FILTER targets INCLUDE REGEX "__rosidl_generator_py$")
  foreach(target IN LISTS targets)
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${python_folders}")
  endforeach()
endfunction()
cmake_language(DEFER CALL use_headers_of_this_python)
